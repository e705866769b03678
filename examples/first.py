"""Two steps, the second of which reads what the first one returned."""

from dotflow import Context, DotFlow, action


@action
def read() -> list[float]:
    """Return the highest temperatures of three days."""
    return [12.8, 10.6, 11.7]


@action(retry=3)
def average(previous_context: Context) -> float:
    """Return their mean."""
    days = previous_context.storage
    return round(sum(days) / len(days), 2)


flow = DotFlow(name="weather")
flow.task.add([read, average])
flow.start()

print(flow.result_storage())
