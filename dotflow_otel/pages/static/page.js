// Where the page begins: a report has its document in it, a server is asked for it.

const FORMAT = 1;

function masthead(home, isList, ...actions) {
  return element("header", { class: "masthead" },
    element("nav", { "aria-label": "Pages" }, home ? element("a", { class: "brand", href: home }, "dotflow") : element("span", { class: "brand" }, "dotflow"),
      home && !isList ? element("a", { href: home }, "All runs") : null),
    element("div", { class: "actions" }, ...actions, themeButton()));
}

function show(page, home) {
  const keys = page instanceof RunPage ? button("Keys", "keys", () => page.keys.showModal()) : null;
  document.body.replaceChildren(masthead(home, page instanceof RunsPage, keys), page.element, announcer);
  document.documentElement.dataset.ready = "true";
}

function fail(text) {
  const home = location.protocol.startsWith("http") ? "/" : null;
  const told = element("main", { class: "failure", role: "alert" }, element("h1", {}, "The page cannot be shown"), element("p", {}, visible(text)));
  document.body.replaceChildren(masthead(home, false), told);
  document.documentElement.dataset.ready = "failed";
}

async function fetched(address) {
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? `The server answered ${answer.status}.`);
  return told;
}

// Keeps a page up to date with what the server tells of it.
function listen(address, page, until = () => false) {
  const source = new EventSource(address);
  const mark = (state) => { document.documentElement.dataset.live = state; };
  source.addEventListener("open", () => mark("on"));
  source.addEventListener("error", () => mark(source.readyState === EventSource.CLOSED ? "off" : "waiting"));
  source.addEventListener("message", (event) => {
    page.take(JSON.parse(event.data));
    if (until()) {
      source.close();
      mark("ended");
    }
  });
  addEventListener("pagehide", () => source.close());
}

async function served() {
  const [, kind, id] = location.pathname.split("/");
  if (kind === "runs" && id) {
    const given = await fetched(`/api/runs/${id}`);
    const page = new RunPage(given, "/");
    show(page, "/");
    // By its own id: what is the latest run now need not be it for long.
    const place = `/api/runs/${encodeURIComponent(given.run.id)}`;
    fetched(`${place}/analysis`).then((analysis) => page.learn(analysis), () => {});
    if (page.run.isRunning) listen(`${place}/events?after=${given.position}`, page, () => !page.run.isRunning);
  } else if (kind === "compare") {
    show(new ComparePage(await fetched(`/api/compare${location.search}`)), "/");
  } else {
    const page = new RunsPage(await fetched("/api/runs"));
    show(page, "/");
    document.title = "Runs · dotflow";
    listen("/api/events", page);
  }
}

function begin() {
  const embedded = document.getElementById("document");
  if (!embedded) {
    served().catch((error) => fail(error.message));
    return;
  }
  const given = JSON.parse(embedded.textContent);
  if (given.format !== FORMAT) {
    fail(`Its document has form ${given.format}; this page reads form ${FORMAT}.`);
    return;
  }
  // Not needed twice: of a large run it takes much room.
  embedded.remove();
  show(new RunPage(given), null);
}

begin();
