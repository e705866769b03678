"""What the history tells of runs, as facts with figures: for commands and pages to show.

Nothing here writes or prints, and nothing reads but `beside`, from the `History` that it is given.
All times are nanoseconds since the epoch, all durations seconds.
"""

from dotflow_otel.analysis.exports import chrome_trace as chrome_trace
from dotflow_otel.analysis.exports import otlp_json as otlp_json
from dotflow_otel.analysis.timing import Comparison as Comparison
from dotflow_otel.analysis.timing import Concurrency as Concurrency
from dotflow_otel.analysis.timing import Lane as Lane
from dotflow_otel.analysis.timing import Segment as Segment
from dotflow_otel.analysis.timing import TaskChange as TaskChange
from dotflow_otel.analysis.timing import TimeSpent as TimeSpent
from dotflow_otel.analysis.timing import compare as compare
from dotflow_otel.analysis.timing import concurrency as concurrency
from dotflow_otel.analysis.timing import critical_path as critical_path
from dotflow_otel.analysis.timing import lanes as lanes
from dotflow_otel.analysis.timing import time_of_tasks as time_of_tasks
from dotflow_otel.analysis.timing import time_on_path as time_on_path
from dotflow_otel.analysis.tree import RESTORED as RESTORED
from dotflow_otel.analysis.tree import UNKNOWN as UNKNOWN
from dotflow_otel.analysis.tree import Attempt as Attempt
from dotflow_otel.analysis.tree import Error as Error
from dotflow_otel.analysis.tree import OwnSpan as OwnSpan
from dotflow_otel.analysis.tree import RunView as RunView
from dotflow_otel.analysis.tree import TaskView as TaskView
from dotflow_otel.analysis.tree import view_of as view_of
from dotflow_otel.analysis.why import Baseline as Baseline
from dotflow_otel.analysis.why import Beside as Beside
from dotflow_otel.analysis.why import InFlight as InFlight
from dotflow_otel.analysis.why import Unusual as Unusual
from dotflow_otel.analysis.why import Why as Why
from dotflow_otel.analysis.why import beside as beside
from dotflow_otel.analysis.why import earlier_runs as earlier_runs
from dotflow_otel.analysis.why import in_flight as in_flight
from dotflow_otel.analysis.why import why as why
