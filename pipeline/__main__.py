"""The command line: `python -m pipeline <stage> [subtype] [fold]`.

A stage is a module of `stages` with a `run` function; it is imported only when it is called, so `--help` and
mistakes in params.yaml answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

from pipeline.common.errors import (
    REFUSALS,
    WANT_OF_MEMORY,
    ConfigError,
    ModelError,
    PipelineError,
    is_for_want_of_memory,
    refusal,
)

try:
    from pipeline.common import addresses, config, console, dvc_leftovers, environment, paths, selection
except Exception as error:  # it may end here already
    if not is_for_want_of_memory(error):
        raise
    sys.stderr.write(f"error: {WANT_OF_MEMORY}\n")
    sys.exit(2)

INTERRUPTED = 130  # as shells have it for Ctrl-C
# Stage -> what it does and what it runs for. Stage name = module = params section.
COHORT_STAGES = {
    "delivery": "ask the source what it holds; write it down as one digest, on which ingest depends",
    "ingest": "bring the images of the source, as they are, to data/raw",
    "validate": "check every image and patient; write the manifest, the quarantine and the validation report",
    "deal": "deal the patients who have no fold yet; nobody is moved who need not be",
    "split": "write who is in which fold of each subtype",
    "pack": "decode the usable images once into one array per class",
    "candidates": "write what counts for each subtype of what params.yaml says of each candidate",
    "weigh": "write which training images count less than others, by what persons decided and by params.yaml",
    "report": "make reports/index.html from the results of all subtypes",
}
CANDIDATE_STAGES = {
    "train_bags": "train the learners that look at patients by their images' vectors, all folds",
    "evaluate": "measure the predictions of test patients",
    "audit": "ask what else than the look of the cells could explain a result",
    "audit_networks": "train twins of the networks: another seed, labels shuffled, grey, split by image",
    "other_classes": "ask the networks about the patients of every class: whom do they call of other leukaemias",
    "explain": "show which cells, and which pixels of a cell, carried the scores of test patients",
    "register": "bring models to MLflow, without names the calls too; name the best champion if it passes the gate",
}
ALL_CLASSES_STAGES = {
    "suspect": "ask which training images look healthy, for the candidates that params.yaml's down_weighted names",
    "call": "call every patient control or one of the subtypes, out of fold, by the vectors of call.candidates",
    "register_call": "bring the calls' models to MLflow; name the best champion",
}
ENCODER_STAGES = {"embed": "make a vector of every usable image; goes on where it was stopped"}
FOLD_STAGES = {
    "train": "train the networks that look at cells, one a fold",
    "embed_networks": "make vectors by those networks, up to the layer before the last",
}
OF_KIND = {  # the others are for any candidate
    **dict.fromkeys(("suspect", "train", "embed_networks", "other_classes", "audit_networks", "tune"), "cnn"),
    "train_bags": "bag",
}
CALL = "call"  # the model of all classes, where a subtype's is asked for
# Beside the DAG.
INIT = "write params.yaml for a cohort of your own, by what lies in its folder"
RESULTS = "show the figures of all candidates in one table"
SOURCE = "say whether the source has something new; exit status 3 if so"
PROMOTE = "name a version of a subtype's model champion by hand"
ROLLBACK = "name the version that the champion replaced champion again"
BY_HAND = {"promote": PROMOTE, "rollback": ROLLBACK}
TUNE = "search a better network for a subtype, on one fold's training patients; goes on where it was stopped"
TRANSFER = "learn a subtype of few patients on what the networks of the others learned; a learning curve"
UNNEEDED = "say which runs of MLflow nobody needs; `python -m flows gc` calls it"
COMPARE = "set two states of the results beside each other; `python -m flows compare` calls it with two commits"
CURATE = "find the images that a person had best look at; a page to decide about them, and what was decided taken over"
EXTERNAL = "try a registered model on another hospital's labelled patients; figures, recalibration, a page beside those of home"
DRIFT = "say whether the newest patients look like those of training; exit status 3 if not"
PREDICT = "score new patients with the champions; a table, and a page for each patient"


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; 0 when it succeeded, 2 when the user has to mend something, 75 when a service was away."""
    chosen = _parser().parse_args(arguments)
    addresses.reach_loopback_directly()
    try:
        if chosen.stage == "init":  # there may be no params.yaml yet
            init = importlib.import_module("pipeline.stages.init")
            init.run(chosen.folder, chosen.um, chosen.control, chosen.name, chosen.replace)
            return 0
        settings = config.load()
        named = getattr(chosen, "subtype", None)
        subtypes = selection.subtypes(settings, None if named == CALL and chosen.stage in BY_HAND else named)
        candidate = getattr(chosen, "candidate", None)
        if chosen.stage in ALL_CLASSES_STAGES:
            candidates = selection.for_call(settings, candidate)
        else:
            candidates = selection.candidates(settings, candidate, OF_KIND.get(chosen.stage))
        encoders = selection.encoders(settings, getattr(chosen, "encoder", None))
        folds = selection.folds(settings, getattr(chosen, "fold", None))
        if chosen.stage == "external":
            labelled = importlib.import_module("pipeline.cohort.labelled_patients")
            labelled.pairs(chosen.classes)
            labelled.opened(chosen.folder, settings.ingest.archive)
        if chosen.stage == "predict":  # a wrong folder is told before MLflow is loaded, which takes seconds
            importlib.import_module("pipeline.cohort.new_patients").find(chosen.folder)
        stage = importlib.import_module(f"pipeline.stages.{'promote' if chosen.stage == 'rollback' else chosen.stage}")
        if chosen.stage == "source":
            status: int = stage.run(settings, chosen.take)
            return status
        if chosen.stage == "drift":
            seen: int = stage.run(settings, chosen.delivery, chosen.output)
            return seen
        if chosen.stage == "compare":
            worse: int = stage.run(settings, chosen.before, chosen.after, tuple(chosen.called), chosen.note, chosen.output)
            return worse
        if chosen.stage == "unneeded":
            stage.run(settings, chosen.needed, chosen.output)
        elif chosen.stage == "promote":
            stage.run(chosen.subtype, chosen.version, chosen.because)
        elif chosen.stage == "rollback":
            stage.rollback(chosen.subtype, chosen.because)
        elif chosen.stage == "tune":
            stage.run(settings, chosen.subtype, selection.one_candidate(candidates), chosen.apply, chosen.only_trials)
        elif chosen.stage == "transfer":
            stage.run(settings, chosen.subtype)
        elif chosen.stage == "curate":
            if chosen.reviewer and not chosen.take:
                raise ConfigError("--reviewer: says who decided in a file that is taken; name that with --take")
            if chosen.take:
                stage.take(settings, chosen.take, chosen.reviewer)
            elif chosen.truth:
                stage.judge(settings, chosen.truth)
            else:
                stage.run(settings)
        elif chosen.stage == "predict":
            stage.run(settings, chosen.folder, chosen.um, chosen.output, chosen.explain, chosen.aside)
        elif chosen.stage == "external":
            asked = stage.Asked(chosen.classes, chosen.name, chosen.um, chosen.output, chosen.despite_look_alikes)
            stage.run(settings, chosen.model, chosen.folder, asked)
        elif chosen.stage in COHORT_STAGES or chosen.stage == "results":
            stage.run(settings)
        elif chosen.stage in ALL_CLASSES_STAGES:
            stage.run(settings, candidates)
        elif chosen.stage in ENCODER_STAGES:
            for encoder in encoders:
                stage.run(settings, encoder)
        elif chosen.stage in CANDIDATE_STAGES:
            stage.run(settings, subtypes, candidates)
            if chosen.stage == "register" and chosen.subtype is None and chosen.candidate is None:  # whatever can be registered
                _register_calls(settings)
        elif chosen.stage == "train" and os.environ.get("RESTORE_ONLY"):
            raise ModelError(
                f"train {subtypes[0]}: its outputs were to come from the DVC remote and are not there (RESTORE_ONLY)"
            )
        elif len(subtypes) * len(candidates) * len(folds) == 1:
            stage.run(settings, subtypes[0], candidates[0], folds[0])
        else:  # a process for each, as DVC does: a network's bytes must not depend on what was trained before it
            for subtype, candidate, fold in itertools.product(subtypes, candidates, folds):
                command = [sys.executable, "-m", "pipeline", chosen.stage, subtype, str(fold), "--candidate", candidate]
                if (failed := subprocess.run(command, check=False).returncode) != 0:
                    return failed
    except PipelineError as error:
        console.fail(str(error))
        return error.status
    except KeyboardInterrupt:
        console.fail(
            f"{chosen.stage}: interrupted; nothing half-written is left, and the same command goes on from what is finished"
        )
        return INTERRUPTED
    except Exception as error:
        if refused := refusal(error):
            place = refused.filename2 or refused.filename or Path.cwd()
            console.fail(f"{place}: {refused.strerror or refused}; {REFUSALS[refused.errno or 0]}, and run it again")
        elif is_for_want_of_memory(error):
            sys.stderr.write(f"error: {chosen.stage}: {WANT_OF_MEMORY}\n")  # the console would need some
        elif (programs := os.environ.get("TRAIN_PROGRAMS")) and _is_of_a_file_of_tensorflows(error):
            said = str(error).partition("\n")[0]
            console.fail(
                f"{chosen.stage}: TensorFlow: {said}; if a file in TRAIN_PROGRAMS ({programs}) is "
                "damaged, or its disk is full, empty that folder and run it again; if that does not help, unset TRAIN_PROGRAMS"
            )
        else:
            raise
        return 2
    finally:
        _clear_away()
    return 0


def _is_of_a_file_of_tensorflows(error: Exception) -> bool:
    """Whether TensorFlow could not read or write a file; which, it does not say."""
    kinds = ("DataLossError", "OutOfRangeError", "PermissionDeniedError", "ResourceExhaustedError", "UnavailableError")
    of_programs = ("Serialized HLO", "Serialized cache key", "No binary found")  # one that is read, and is not what it must be
    is_known = type(error).__name__ in kinds or any(text in str(error) for text in of_programs)
    return type(error).__module__.startswith("tensorflow.") and is_known


def _clear_away() -> None:
    """Over what DVC leaves the next `dvc repro` would stumble; without memory the next command clears it away."""
    try:
        dvc_leftovers.clear_cache()
    except Exception as error:
        if not is_for_want_of_memory(error):
            raise


def _register_calls(settings: config.Config) -> None:
    """What `register` without names does besides: a registry that was lost, or is another one, gets the calls as well."""
    if called := [name for name in settings.call.candidates if paths.evaluated(CALL, name).is_file()]:
        importlib.import_module("pipeline.stages.register_call").run(settings, called)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="One stage of the pipeline, by hand. `dvc repro` runs all that are stale, in order.",
    )
    stages = parser.add_subparsers(dest="stage", metavar="stage", required=True)
    for name, purpose in {**COHORT_STAGES, **ENCODER_STAGES, **FOLD_STAGES, **CANDIDATE_STAGES, **ALL_CLASSES_STAGES}.items():
        stage = stages.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name in ENCODER_STAGES:
            stage.add_argument("encoder", nargs="?", help="one of params.yaml's encoders; all of them when left out")
        elif name not in COHORT_STAGES:
            if name not in ALL_CLASSES_STAGES:
                stage.add_argument("subtype", nargs="?", help="one of params.yaml's subtypes; all of them when left out")
            stage.add_argument("--candidate", help="one of params.yaml's candidates; all of them when left out")
        if name in FOLD_STAGES:
            stage.add_argument("fold", nargs="?", type=int, help="one of params.yaml's folds; all of them when left out")
    init = stages.add_parser("init", help=INIT, description=INIT[0].upper() + INIT[1:] + ".")
    init.add_argument("folder", type=Path, help="the folder, or ZIP archive, that holds the class folders, or one above")
    init.add_argument("--um", type=float, help="side of the images in micrometres; asked for when left out")
    init.add_argument("--control", help="the class that is label 0 of every classifier; told by its name when left out")
    init.add_argument("--name", help="name and release of the cohort, as reports show it; the folder's when left out")
    init.add_argument("--replace", action="store_true", help="replace params.yaml; else the new one is written beside it")
    stages.add_parser("results", help=RESULTS, description=RESULTS[0].upper() + RESULTS[1:] + ".")
    source = stages.add_parser("source", help=SOURCE, description=SOURCE[0].upper() + SOURCE[1:] + ".")
    source.add_argument("--take", action="store_true", help="raise ingest.kaggle.version in params.yaml to the newest version")
    tune = stages.add_parser("tune", help=TUNE, description=TUNE[0].upper() + TUNE[1:] + ". Settings: params.yaml's tune.")
    tune.add_argument("subtype", help="one of params.yaml's subtypes")
    tune.add_argument("--candidate", help="as which candidate of params.yaml; needed where there are several")
    tune.add_argument("--apply", action="store_true", help="put the winner into params.yaml; `dvc repro` then trains it")
    tune.add_argument("--only-trials", action="store_true", help="end with the trials: one worker of several")
    transfer = stages.add_parser("transfer", help=TRANSFER, description=TRANSFER[0].upper() + TRANSFER[1:] + ".")
    transfer.add_argument("subtype", help="one of params.yaml's subtypes; the others' networks are there already")
    unneeded = stages.add_parser("unneeded", help=UNNEEDED, description=UNNEEDED[0].upper() + UNNEEDED[1:] + ".")
    unneeded.add_argument("needed", type=Path, help="JSON: the digests of candidates and trainings that are needed")
    unneeded.add_argument("output", type=Path, help="the JSON to write")
    compare = stages.add_parser("compare", help=COMPARE, description=COMPARE[0].upper() + COMPARE[1:] + ".")
    for name in ("before", "after"):
        compare.add_argument(name, type=Path, help="a folder with reports/<subtype>/<candidate>/metrics.json and patients.csv")
    compare.add_argument("--called", nargs=2, default=("before", "after"), help="what the two are called on the page")
    compare.add_argument("--note", action="append", default=[], help="a sentence below its first line")
    compare.add_argument("--output", type=Path, required=True, help="folder for comparison.md and its pictures")
    curate = stages.add_parser("curate", help=CURATE, description=CURATE[0].upper() + CURATE[1:] + ".")
    instead = curate.add_mutually_exclusive_group()
    instead.add_argument("--take", type=Path, metavar="FILE", help="merge what the page exported into data/review.csv")
    instead.add_argument("--truth", type=Path, metavar="CSV", help="judge the ranking by experts' labels, as SCEMILA has them")
    curate.add_argument("--reviewer", default="", help="who decided, where the file that is taken does not say so")
    predict = stages.add_parser("predict", help=PREDICT, description=PREDICT[0].upper() + PREDICT[1:] + ".")
    predict.add_argument("folder", type=Path, help="a patient's folder of images, or a folder of such folders")
    predict.add_argument("--um", type=float, help="side of the images in micrometres; params.yaml's image_um when left out")
    predict.add_argument("--output", type=Path, help="folder for the results; predictions/<folder's name> when left out")
    predict.add_argument("--explain", action="store_true", help="say on each page which cells and pixels carried the scores")
    predict.add_argument("--aside", action="store_true", help="don't count these among the new patients that drift looks at")
    external = stages.add_parser("external", help=EXTERNAL, description=EXTERNAL[0].upper() + EXTERNAL[1:] + ".")
    external.add_argument("model", help="a subtype's model and its version, by name or number: NPM1@champion, NPM1@3")
    external.add_argument("folder", type=Path, help="folder, or ZIP archive, with a folder a class and in it one a patient")
    external.add_argument(
        "--classes",
        default="",
        metavar="PAIRS",
        help='folder=class, where names differ: "healthy=control,AML_NPM1=NPM1"; "x=" leaves x out',
    )
    external.add_argument("--name", default="", help="of the cohort, as MLflow shows it; the folder's when left out")
    external.add_argument("--um", type=float, help="side of the images in micrometres; params.yaml's image_um when left out")
    external.add_argument("--output", type=Path, help="for the results; external/<model>-v<version>/<name> when left out")
    external.add_argument(
        "--despite-look-alikes", action="store_true", help="go on although pictures look like the training's: they are others"
    )
    drift = stages.add_parser("drift", help=DRIFT, description=DRIFT[0].upper() + DRIFT[1:] + ".")
    drift.add_argument("--delivery", action="store_true", help="those of the cohort whom the champion does not know, instead")
    drift.add_argument("--output", type=Path, help="write what was seen to this JSON too")
    for name, purpose in BY_HAND.items():
        by_hand = stages.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        by_hand.add_argument("subtype", help="one of params.yaml's subtypes, or call")
        if name == "promote":
            by_hand.add_argument("version", help="number of the version in MLflow")
        by_hand.add_argument("--because", required=True, help="the reason, which is written down with the version")
    return parser


if __name__ == "__main__":
    environment.run_program(main)
