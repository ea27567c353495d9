"""`dgunet evaluate`: a data set, or several under one mean."""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dgunet_jax import __version__
from dgunet_jax.data.degradations import Degradation
from dgunet_jax.data.folders import lies_in, visible
from dgunet_jax.data.pairs import Pattern
from dgunet_jax.evaluation import report
from dgunet_jax.evaluation.comparing import Outcome, comparison, cost_of
from dgunet_jax.evaluation.datasets import find
from dgunet_jax.evaluation.protocols import SUITES, Protocol, Suite, protocols, simulated
from dgunet_jax.evaluation.real_noise import Submission
from dgunet_jax.evaluation.samples import Method, RestoredSample, Sample, Source
from dgunet_jax.evaluation.scores import RESULTS, Evaluation, as_json, mean, write_json
from dgunet_jax.evaluation.scoring import MOST, another, check_same, extremes, journals, score
from dgunet_jax.restoration.command import parse_bytes, parse_mesh, parse_tile
from dgunet_jax.system.errors import UserError, counted, listed, printable
from dgunet_jax.system.files import locked, read_bytes
from dgunet_jax.system.hosts import ALL, Share
from dgunet_jax.system.terminal import say, show

# Options that only a checkpoint reads, and those that only scoring does, as they are by default.
_COMPUTING: Mapping[str, object] = {
    **dict.fromkeys(("self_ensemble", "num_stages", "weights", "mesh", "tile", "memory", "dtype")),
    "window": 0,
    "precision": "highest",
    "no_cache": False,
}
_SCORING: Mapping[str, object] = {"limit": None, "save_images": False, **_COMPUTING}

Members = Sequence[tuple[str, Protocol]]


@dataclasses.dataclass(frozen=True)
class Task:
    """What to evaluate, and where the results go.

    Attributes:
      data: folder of the data set.
      output: folder of the results, created if it does not exist.
      method: what restores the images.
      limit: score only the first samples by name, so many; None: all.
      save_images: write the restored images to images/ in `output`, as PNG.
      pattern: of the names of pairs; None: found out.
      share: which of the images this process scores.
    """

    data: Path
    output: Path
    method: Method
    limit: int | None = None
    save_images: bool = False
    pattern: Pattern | None = None
    share: Share = ALL

    @property
    def lock(self) -> str:
        """The name of the lock that keeps another of this process' kind away."""
        return f"lock{self.share.suffix}"

    def below(self, folder: str) -> "Task":
        """Return the task for one data set of several, which have folders of their own."""
        data, output, method = self.data / folder, self.output / folder, self.method.below(folder)
        return dataclasses.replace(self, data=data, output=output, method=method)


def run(options: argparse.Namespace) -> int:
    """Evaluate what a command line asks for.

    Returns:
      0, or 2 if an image could not be scored or, with --check, anything is missing.

    Raises:
      UserError: nothing could be scored at all.
    """
    if options.degradation is not None:
        Degradation.parse(options.degradation)  # which raises what is wrong with it
        members: Members = [("", simulated(options.degradation))]
    else:
        members = protocols(options.dataset or options.protocol)
    visible(options.data)  # which raises what is wrong with it
    pattern = None if options.pairs is None else Pattern.parse(options.pairs)
    if options.check:
        _refuse(options, _SCORING, "is for scoring; --check scores nothing")
        return _check(members, options.data, pattern)
    _check_options(options)
    suite = SUITES.get(options.dataset)
    paths = options.checkpoint or [options.restored]
    tasks = [_task(options, path, pattern) for path in paths]
    if len(tasks) == 1:
        return conduct(members, tasks[0], suite)
    named = {task.method.label: task for task in tasks}
    if len(named) < len(tasks):
        labels = listed([task.method.label for task in tasks])
        raise UserError(f"--checkpoint: each must have a name of its own; these are {labels}")
    for name, task in named.items():
        named[name] = dataclasses.replace(task, output=options.output / name)
    return conduct_each(members, named, options.output, suite)


def _task(options: argparse.Namespace, path: Path, pattern: Pattern | None) -> Task:
    """Return what a command line asks for, for one checkpoint or folder of restored pictures."""
    method = Method(
        path=path,
        is_checkpoint=bool(options.checkpoint),
        num_stages=options.num_stages,
        weights=options.weights,
        self_ensemble=options.self_ensemble,
        tile=parse_tile(options.tile),
        mesh=parse_mesh(options.mesh),
        window=options.window,
        dtype=options.dtype,
        precision=options.precision,
        memory=parse_bytes(options.memory),
        cache=not options.no_cache,
    )
    limit, save_images = options.limit, options.save_images
    return Task(options.data, options.output, method, limit, save_images, pattern, options.share)


def conduct(members: Members, task: Task, suite: Suite | None = None) -> int:
    """Evaluate a data set, or all of a suite; print the table and what failed.

    Args:
      members: as `protocols` returns them.
      task: what to evaluate.
      suite: what they belong to; None: there is only one.

    Returns:
      0, or 2 if an image could not be scored.

    Raises:
      UserError: nothing could be scored at all.
    """
    return _tell(_conduct(members, task, suite).failures)


def _conduct(members: Members, task: Task, suite: Suite | None) -> Outcome:
    visible(task.data)  # which raises what is wrong with it
    if lies_in(task.output, task.data):
        raise UserError(f"--output {task.output}: must not be in the data set's folder")
    if suite is not None:
        return evaluate_suite(suite, task)
    ((_, protocol),) = members
    evaluation = evaluate(protocol, task)
    if evaluation is None:
        return Outcome({}, None, [])
    show(report.data_set_table(evaluation).text())
    return Outcome({"": evaluation}, evaluation.mean, evaluation.failures)


def _tell(failures: Sequence[str]) -> int:
    """Print what failed; return the exit status."""
    for failure in failures:
        say(f"error: {failure}")
    if failures:
        say(f"{len(failures)} failed")
    return 2 if failures else 0


def conduct_each(
    members: Members, tasks: Mapping[str, Task], output: Path, suite: Suite | None = None
) -> int:
    """Evaluate several networks one after the other, and compare them in one table.

    Args:
      members: as `protocols` returns them.
      tasks: what to evaluate with each, by its name; their outputs lie in `output`.
      output: folder of the comparison.
      suite: what they belong to; None: there is only one data set.

    Returns:
      0, or 2 if an image could not be scored.

    Raises:
      UserError: nothing could be scored at all.
    """
    if journals(output) or (output / RESULTS).exists():
        raise another(output)
    outcomes = {name: _conduct(members, task, suite) for name, task in tasks.items()}
    failures = [failure for each in outcomes.values() for failure in each.failures]
    if not all(each.evaluations for each in outcomes.values()):
        return _tell(failures)  # the rest is left to other processes, or failed
    costs = {name: cost_of(*task.method.network()) for name, task in tasks.items()}
    table = comparison(members, suite, outcomes, costs)
    show(table.text())
    reports = {
        " · ".join(part for part in (name, folder) if part): "/".join(
            part for part in (tasks[name].output.name, folder, "report.html") if part
        )
        for name, each in outcomes.items()
        for folder in each.evaluations
    }
    made = {
        name: {**task.method.identity(), **task.method.provenance()} for name, task in tasks.items()
    }
    report.write_overview(output, [table], reports, failures, made)
    return _tell(failures)


def _check_options(options: argparse.Namespace) -> None:
    if options.output is None:
        raise UserError("--output is needed, unless --check")
    if options.checkpoint is None and options.restored is None:
        raise UserError("one of --checkpoint, --restored and --check is needed")
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit {options.limit}: must be at least 1")
    if options.restored is not None:
        _refuse(options, _COMPUTING, "is for a checkpoint; --restored restores nothing")


def _refuse(options: argparse.Namespace, unset: Mapping[str, object], why: str) -> None:
    """Raise a UserError if one of these options is given."""
    for name, value in unset.items():
        if getattr(options, name) is not value:
            raise UserError(f"--{name.replace('_', '-')}: {why}")


def _check(members: Members, data: Path, pattern: Pattern | None) -> int:
    """Report what of the data sets is there, and what is missing."""
    status = 0
    for folder, protocol in members:
        try:
            found = find(protocol, data / folder, pattern)
        except UserError as error:
            say(f"error: {protocol.title}: {error}")
            status = 2
            continue
        count, problems = len(found.samples), list(found.failures)
        held = counted(count, "picture")
        show(f"{protocol.title}: {held} that can be scored in {printable(data / folder)}")
        found.report_others()
        if protocol.count not in (None, count):
            whole = f"{protocol.title} has {protocol.count} pictures"
            problems.append(f"{whole}; {count} of them can be scored here")
        for problem in problems:
            say(f"error: {problem}")
        status = 2 if problems else status
    return status


def evaluate(protocol: Protocol, task: Task) -> Evaluation | None:
    """Score a data set and write results.json, images.csv and report.html.

    An evaluation that was stopped goes on: samples that have scores in the folder, and have not
    changed since, are not restored again.

    Returns:
      The result; None if other processes have not come to all of their samples yet: that which
      comes to the last one writes the results.

    Raises:
      UserError: there is nothing to score, the checkpoint cannot be used, or the folder holds
        another evaluation. What fails with single images is in the result instead.
    """
    method, output = task.method, task.output
    found = find(protocol, task.data, task.pattern)
    found.report_others()
    samples = found.samples[: task.limit]
    if not samples:
        count, failures = len(found.failures), listed(found.failures)
        raise UserError(
            f"{task.data}: nothing can be scored; pictures that failed ({count}): {failures}"
        )
    method.check(protocol)
    source = method.source(protocol)
    identity = {"protocol": protocol.name, "dgunet_jax": __version__, **method.identity(protocol)}
    with locked(output, task.lock):
        if (output / RESULTS).exists() and not journals(output):
            raise another(output)  # a suite's, which has no journal of its own
        submission = None if protocol.has_targets else Submission(output)
        scored = score(
            protocol,
            samples,
            source,
            output,
            identity,
            submission,
            save_images=task.save_images,
            share=task.share,
        )
        if scored.left:
            say(f"{protocol.title}: {counted(scored.left, 'picture')} left to other processes")
            return None
        evaluation = Evaluation(
            protocol,
            method.label,
            scored.images,
            [*found.failures, *scored.failures],
            {**identity, "data": str(task.data), **method.provenance()},
            task.limit,
            submission and submission.bundle(sample.name for sample in found.samples),
        )
        evaluation.write(output)
        shown = _shown(evaluation)
        names = {name for each in shown.values() for name in each}
        missing = [each for each in samples if each.name in names - scored.kept.keys()]
        restored = scored.kept | _restored(missing, source)
        report.write_report(output, evaluation, shown, restored)
    return evaluation


def _shown(evaluation: Evaluation) -> dict[str, list[str]]:
    """Return the names of the samples that a report shows, by title."""
    if not evaluation.protocol.has_targets:
        return {"Pictures": [name for name, _ in evaluation.images[:MOST]]}
    worst, best = extremes({name: scores.psnr for name, scores in evaluation.scored.items()})
    return {"Worst pictures": worst, "Best pictures": best}


def _restored(samples: Sequence[Sample], source: Source) -> dict[str, RestoredSample]:
    """Restore samples that were scored in an earlier run; what fails is left out."""
    return {
        sample.name: restored
        for turn in source.turns(samples, lambda line: None)
        for sample, restored in turn
        if not isinstance(restored, UserError)
    }


def evaluate_suite(suite: Suite, task: Task) -> Outcome:
    """Score each data set into a folder of its own; print tables, write results.json and a report.

    There is an average only if all of them have scores. If pictures are left to other processes,
    there are no evaluations in what is returned, and nothing is written.

    Raises:
      UserError: the checkpoint cannot be used, or the folder holds another evaluation.
    """
    members, method, output = protocols(suite.name), task.method, task.output
    for _, protocol in members:
        method.check(protocol)
    identity = {"protocol": suite.name, "dgunet_jax": __version__, **method.identity()}
    evaluations: dict[str, Evaluation] = {}
    failures: list[str] = []
    waits = False  # for other processes
    with locked(output, task.lock):
        _check_folder(output, identity)
        for folder, protocol in members:
            try:
                evaluation = evaluate(protocol, task.below(folder))
            except UserError as error:
                failures.append(printable(error))
                continue
            if evaluation is None:
                waits = True
                continue
            evaluations[folder] = evaluation
            failures += evaluation.failures
            show(report.data_set_table(evaluation).text())
        if waits:
            return Outcome({}, None, failures)
        means = [each.mean for each in evaluations.values() if each.mean is not None]
        average = mean(means) if len(means) == len(members) else None
        table = report.suite_table(suite, evaluations, average)
        show(table.text())
        provenance = {**identity, "data": str(task.data), **method.provenance()}
        content = {
            "protocol": suite.name,
            "mean": average and as_json(average),
            "members": {
                folder: {
                    **as_json(each and each.mean),
                    "count": len(each.images) if each else 0,
                    "expected_count": protocol.count,
                    "limit": task.limit,
                }
                for folder, protocol in members
                for each in [evaluations.get(folder)]
            },
            "published": [dataclasses.asdict(each) for each in suite.published],
            "failures": failures,
            "provenance": provenance,
        }
        write_json(output / RESULTS, content)
        tables = [table, *map(report.data_set_table, evaluations.values())]
        reports = {folder: f"{folder}/report.html" for folder in evaluations}
        report.write_overview(output, tables, reports, failures, provenance)
    return Outcome(evaluations, average, failures)


def _check_folder(output: Path, identity: Mapping[str, Any]) -> None:
    """Raise a UserError if a folder holds anything but this suite's results."""
    if journals(output):
        raise another(output)
    if not (output / RESULTS).exists():
        return
    try:
        was = json.loads(read_bytes(output / RESULTS))["provenance"]
        was = {key: was.get(key) for key in identity}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise another(output) from None
    check_same(output, was, identity)
