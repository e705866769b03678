"""Groups that run at the same time, in worker processes; the tasks of a group in order."""

from dotflow import Context, DotFlow, action


@action
def days(initial_context: Context) -> list[int]:
    """Return the length of each month of a year."""
    february = 29 if initial_context.storage % 4 == 0 else 28
    return [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


@action
def total(previous_context: Context) -> int:
    """Sum up what the task before it in the same group returned."""
    return sum(previous_context.storage)


flow = DotFlow(name="calendar")
for year in (2012, 2013, 2014, 2015):
    flow.task.add([days, total], initial_context=year, group_name=str(year))
flow.start(mode="parallel")

for task in flow.result_task():
    if task.name == "total":
        print(task.group_name, task.current_context.storage)
