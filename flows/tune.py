"""The flow `tune`: several workers on one search, then its end. TUNE_STORAGE lets other machines' workers join."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows import ROOT, dvc_stages, training_slots
from flows.child_process import ending_with_flow
from flows.result_artifacts import artifact_key, embed_picture
from flows.retries import service_task
from flows.training import reason

_ENDED = re.compile(r"(\d+) of (\d+): trial")
_PICTURE = re.compile(r"!\[[^\]]*\]\((\w+)\.png\)")


@service_task("{title}")
def search(title: str, arguments: list[str], slots: training_slots.Slots) -> str:
    """Run `python -m pipeline tune` with these arguments in a training slot; its last line."""
    say = get_run_logger().info
    with slots.take() as slot_variables:
        environment = {**slot_variables, "FLOW_RUN": str(flow_run.id)}
        _, lines = dvc_stages.run_pipeline("tune", *arguments, say=_with_progress(say, title), environment=environment)
    return lines[-1]


@flow(name="tune", flow_run_name="tune {subtype}, {workers} workers")
def tune(subtype: str, workers: int = 2, apply: bool = False, candidate: str | None = None) -> State[str]:
    """Search a better network for a subtype, the trials dealt to workers; settings are params.yaml's `tune`.

    Args:
        subtype: whose network.
        workers: trials at once on this machine, dealt to its GPUs in turn. TRAIN_THREADS says how many processor threads each
            uses.
        apply: put the winner into params.yaml.
        candidate: as which candidate of params.yaml; needed where there are several with networks.
    """
    if workers < 1:
        return Failed(message=f"--workers: a whole number above 0, not {workers}")
    asked = [subtype, *(["--candidate", candidate] if candidate else [])]
    with ending_with_flow():
        try:
            slots = training_slots.find_slots(workers)
        except ValueError as error:
            return Failed(message=str(error))
        working = [search.submit(f"worker {number}", [*asked, "--only-trials"], slots) for number in range(workers)]
        for worker in working:
            worker.wait()
        failed = [reason(worker.state) for worker in working if not worker.state.is_completed()]
        if len(failed) == workers:  # one that goes on does the trials of the others
            return Failed(message=" | ".join(dict.fromkeys(failed)))
        end = search("finalists and test patients", [*asked, *(["--apply"] if apply else [])], slots, return_state=True)
        if not end.is_completed():
            return Failed(message=reason(end))
        _publish(subtype)
        lost = f"; {len(failed)} of {workers} workers failed: {failed[0]}" if failed else ""
        return Completed(message=f"{end.result()}{lost}")


def _publish(subtype: str) -> None:
    """Put the page of a search's result, with its pictures, into Prefect's pages."""
    folder = ROOT / "reports" / "tune" / subtype
    page = _PICTURE.sub(lambda found: embed_picture(folder / f"{found[1]}.png"), (folder / "result.md").read_text())
    create_markdown_artifact(markdown=page, key=f"tune-{artifact_key(subtype)}", description=f"Search for {subtype}")


def _with_progress(say: Callable[..., None], title: str) -> Callable[[str], None]:
    """A `say` that also moves a progress bar in Prefect's pages along with the trials of all workers."""
    bar = create_progress_artifact(progress=0.0, key=artifact_key(f"tune {title}"), description=f"{title}: trials")
    artifact = cast(UUID, bar)

    def both(line: str) -> None:
        say("%s", line)
        if found := _ENDED.match(line):
            update_progress_artifact(artifact_id=artifact, progress=100.0 * int(found[1]) / int(found[2]))

    return both
