"""What `make bench` runs beside the kit's commands, each in a process of its own.

`python -m tests.benchmarks.work NAME ARGUMENT...` loads what NAME needs, works, and prints the seconds of the work
alone as JSON. Whoever starts the process measures it as a whole.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

BATCH_SIZES = (1, 2, 4, 8, 16)  # of transformers' pipeline, which is measured with the fastest one
N_TRIED = 4  # documents that the batch size is chosen on


def seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def texts_of(data: str) -> list[str]:
    return [entry["full_text"] for entry in json.loads(Path(data).read_text(encoding="utf-8"))]


def import_torch() -> float:
    return seconds_of(lambda: __import__("torch"))


def label(engine: str, data: str, *runs: str) -> float:
    """Label documents with the tagger of runs; no run: the tagger that comes with the kit."""
    from pii_kit.documents import read_documents
    from pii_kit.predict import Tagger

    documents = read_documents(data)
    tagger = Tagger.load(*runs, engine=engine, devices=["cpu"], n_tokens=sum(len(doc.tokens) for doc in documents))
    return seconds_of(lambda: [tagger.decide(*pair) for pair in tagger.predict(documents)])


def train_spacy(data: str, out: str, epochs: str) -> float:
    """Train the baseline of notebook 05 and save it."""
    from pii_kit.documents import read_documents
    from pii_kit.report.baselines import train_spacy_ner

    pipeline, _ = train_spacy_ner(read_documents(data, labels_required=True), epochs=int(epochs))
    pipeline.to_disk(out)
    return 0.0


def label_spacy(pipeline: str, data: str, n_processes: str) -> float:
    import spacy

    loaded = spacy.load(pipeline)
    texts = texts_of(data)
    return seconds_of(lambda: list(loaded.pipe(texts, n_process=int(n_processes))))


def label_pipeline(run: str, data: str) -> float:
    """Label texts with transformers' pipeline and the weights of a run's first fold, without the features of words."""
    from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast, pipeline

    from pii_kit.predict import fold_folders, load_member

    member: Any = load_member(fold_folders(run)[0], devices=["cpu"], engine="torch")
    config = member.network.model.config
    names = {"id2label": config.id2label, "label2id": config.label2id}
    model = AutoModelForTokenClassification.from_config(type(config.encoder)(**config.encoder.to_dict() | names))
    model.base_model.load_state_dict(member.network.model.encoder.state_dict())
    model.classifier.load_state_dict(member.network.model.classifier.state_dict())
    specials = member.tokenizer.specials
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=member.tokenizer.tokenizer,
        pad_token=specials["pad"],
        unk_token=specials["unknown"],
        model_max_length=member.window_size,
    )
    settings: Any = {"stride": member.overlap, "aggregation_strategy": "first", "device": "cpu"}
    find = pipeline("token-classification", model=model.eval(), tokenizer=tokenizer, **settings)
    texts = texts_of(data)
    times = {size: seconds_of(lambda size=size: list(find(texts[:N_TRIED], batch_size=size))) for size in BATCH_SIZES}
    return seconds_of(lambda: list(find(texts, batch_size=min(times, key=times.__getitem__))))


def redact_presidio(data: str) -> float:
    """Redact texts with Presidio's own recognizers, and with spaCy's small English model if that is installed."""
    import spacy.util
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import NoOpNlpEngine, SpacyNlpEngine
    from presidio_anonymizer import AnonymizerEngine

    kind = SpacyNlpEngine if spacy.util.is_package("en_core_web_sm") else NoOpNlpEngine
    engine = kind([{"lang_code": "en", "model_name": "en_core_web_sm"}])
    analyzer, anonymizer, texts = AnalyzerEngine(nlp_engine=engine), AnonymizerEngine(), texts_of(data)
    return seconds_of(lambda: [anonymizer.anonymize(text, analyzer.analyze(text, "en")) for text in texts])


def train_kit(model: str, data: str) -> float:
    """Train a fold for three epochs on all windows of augmented documents; return the seconds of the middle one."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pii_kit", "train", "--model", model, "--data", data, "--fold", "0"]
        command += ["--set", "empty_share=1", "--epochs", "3", "--run", f"{folder}/run"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        return json.loads(Path(folder, "run/fold_0/history.json").read_text(encoding="utf-8"))[1]["epoch_seconds"]


def train_trainer(run: str, data: str, out: str) -> float:
    """Train the model of a run for one epoch with transformers' Trainer, on all windows of documents, ready-made."""
    import numpy as np
    from transformers import DataCollatorForTokenClassification, PreTrainedTokenizerFast, Trainer, TrainingArguments

    from pii_kit.documents import read_documents
    from pii_kit.predict import fold_folders, load_member
    from pii_kit.windows import cut_windows

    member: Any = load_member(fold_folders(run)[0], devices=["cpu"], engine="torch")
    cuts = {"size": member.window_size, "overlap": member.overlap}
    windows = [window for doc in read_documents(data) for window in cut_windows(doc, member.tokenizer, **cuts)]
    rows: Any = [
        {"input_ids": one.pieces, "labels": one.labels, "attention_mask": np.ones(len(one), int)} for one in windows
    ]
    record = json.loads(Path(run, "run.json").read_text(encoding="utf-8"))
    arguments = TrainingArguments(
        output_dir=out,
        per_device_train_batch_size=record["settings"]["train"]["batch_size"],
        num_train_epochs=1,
        use_cpu=True,
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    specials = member.tokenizer.specials
    padding = PreTrainedTokenizerFast(tokenizer_object=member.tokenizer.tokenizer, pad_token=specials["pad"])
    collator = DataCollatorForTokenClassification(padding)
    trainer = Trainer(model=member.network.model, args=arguments, train_dataset=rows, data_collator=collator)
    return trainer.train().metrics["train_runtime"]


if __name__ == "__main__":
    print(json.dumps({"alone": globals()[sys.argv[1]](*sys.argv[2:])}))
