"""Find personally identifiable information in student essays.

Data flows one way, one module per step, and this is also a good order to read them in:

    labels → data → sample → augment → pieces → windows → sha_rnn | mobilebert
    → predict → decide → rules → submission → metrics

`augment` is for training alone: `surrogates` are what `augment_swap` and `augment_plant` put in an essay. `presets`,
`optim`, `train`, `validate`, `runs` and `train_run` fit a model and keep it, in several processes with `ranks`; `folds`
trains one for each fold (`side_by_side`), `launch` on every GPU, `out_of_fold` keeps what each says of essays new to
it, `ensemble` averages them, `unseen` has what they say of any labelled essays; `pretrain` and `distill` learn from
unlabelled essays; `export` and `onnx_model` take a tagger to ONNX Runtime; `rules` are `decide`'s. `label_in_time` is
the way from essays to a submission when time is short. `cost`, `patterns`, `spacy_ner`, `eda`, `compare`, `ablation`,
`highlight` and `plots` are what the notebooks look at, `browser` shows errors as a page. `kaggle`, `environment` and
`time_left` know the platform; `kaggle_description` and what is named like it send the kit there; `demo` runs five
notebooks in a row. SHA-RNN as the language model that it was is a way of its own, on the same blocks:

    byte_text → sha_rnn → language_model → train_language_model
"""

import os

# Lets torch count GPUs without using them: a process that has used one cannot start others that share a training.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

__version__ = "0.1.0"
