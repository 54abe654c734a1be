"""How a project of runs is laid out in wandb: a saved view with the scores that count, the curves and the pictures."""

from __future__ import annotations

import wandb
import wandb_workspaces.reports.v2 as panels
import wandb_workspaces.workspaces as layout
from wandb_workspaces import expr

from fisheries.schema import InputError
from fisheries.training.wandb_runs import first_line

NAME = "fisheries"
SMOOTHING = 0.6  # of step curves, by time, so that short and long runs are smoothed alike
_STEP = "trainer/global_step"
_COLUMNS = (
    "unseen/log_loss",
    "unseen/prior_log_loss",
    "seen/log_loss",
    "unseen/accuracy",
    "best/log_loss",
    "best/epoch",
    "test/stg2/log_loss",
)


def save_workspace(project: str, entity: str | None) -> str:
    """Save the layout as a new view of a project, and return its address.

    Args:
        project: of wandb.
        entity: user or team that has it; None for the one that the key belongs to.

    Raises:
        InputError: there is no key, the server can't be reached, or it refuses.
    """
    wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise InputError("wandb has no key here: `wandb login` asks for one, or set WANDB_API_KEY")
    try:
        entity = entity or wandb.Api(timeout=20).default_entity
        workspace = create_workspace(project, entity or "")
        workspace.save()  # type: ignore[no-untyped-call]
        return workspace.url
    except (wandb.errors.Error, OSError, ValueError) as error:
        raise InputError(
            f"wandb does not save a view of {project} ({first_line(error)}): is the network there, and does the key open it?"
        ) from error


def create_workspace(project: str, entity: str) -> layout.Workspace:
    """Lay a project out: best on unseen boats first, an experiment's folds and its scores apart.

    What is not laid out here, such as the confusion matrices, wandb adds below.

    Args:
        project: of wandb.
        entity: user or team that has it.
    """
    return layout.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[_scores(), _curves(), _pictures(), _machine()],
        settings=layout.WorkspaceSettings(x_axis=_STEP),
        runset_settings=layout.RunsetSettings(
            order=[expr.Ordering(expr.Summary("unseen/log_loss"), ascending=True)],
            groupby=[expr.Metric("Group"), expr.Metric("JobType")],  # or bars would be means of folds and all of them
            pinned_columns=[f"summary:{name}" for name in _COLUMNS],
        ),
        auto_generate_panels=True,
    )


def _scores() -> layout.Section:
    return layout.Section(
        "Scores",
        panels=[
            *(panels.BarPlot(title=name, metrics=[name]) for name in _COLUMNS[:3]),
            panels.ScatterPlot(
                title="does what is seen hold on what is not?",
                x=panels.SummaryMetric("seen/log_loss"),
                y=panels.SummaryMetric("unseen/log_loss"),
            ),
            panels.RunComparer(diff_only=True),
        ],
        is_open=True,
    )


def _curves() -> layout.Section:
    return layout.Section(
        "Curves",
        panels=[
            panels.LinePlot(title="held-out log loss", x=_STEP, y=["val/log_loss", "train/log_loss"]),
            panels.LinePlot(
                title="loss of steps, smoothed",
                x=_STEP,
                y=["train/loss_smooth"],
                smoothing_type="exponentialTimeWeighted",
                smoothing_factor=SMOOTHING,
                smoothing_show_original=True,
            ),
            panels.LinePlot(title="accuracy", x=_STEP, y=["val/accuracy", "train/accuracy"]),
            panels.LinePlot(title="box IoU", x=_STEP, y=["val/box_iou", "train/box_iou"]),
            panels.LinePlot(title="learning rate", x=_STEP, y=["train/lr"]),
        ],
        is_open=True,
    )


def _pictures() -> layout.Section:
    return layout.Section(
        "Held-out images and tables",
        panels=[
            *(panels.WeavePanelSummaryTable(table_name=name) for name in ("held_out", "scores")),
            panels.MediaBrowser(media_keys=["unseen/reliability", "seen/reliability"]),
        ],
        is_open=True,
    )


def _machine() -> layout.Section:
    return layout.Section(
        "Machine",
        panels=[
            panels.LinePlot(title="images/s", x=_STEP, y=["train/images_per_s"]),
            panels.LinePlot(title="GPU memory (GiB)", x=_STEP, y=["gpu/memory_gib"]),
        ],
    )
