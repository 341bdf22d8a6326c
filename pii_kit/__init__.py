"""Find personally identifiable information in student essays.

Data flows one way, one module per step, and this is also a good order to read them in:

    labels → data → sample → pieces → windows → sha_rnn | mobilebert → predict → decide → submission → metrics

`augment` makes the training essays anew each epoch. `batches`, `optim`, `train`, `runs` and `presets` fit a model and
keep it, with what it says of essays that it was not trained on (`out_of_fold`); `masked_pieces` and `pretrain` teach a
model's body before that. `folds` trains a tagger for each fold, `ensemble` averages the taggers of all runs, and
`unseen` has what they say of any labelled essays, those of their training too. `export` and `onnx_model` take a run to
ONNX Runtime; `cost`, `patterns`, `eda`, `highlight` and `plots` are what the notebooks look at, `browser` shows a
model's errors as a page, `spacy_ner` is a baseline; `kaggle` knows the platform; `demo` runs five notebooks in a row.
SHA-RNN as the language model that it was is a way of its own, on the same blocks:

    byte_text → sha_rnn → language_model → train_language_model
"""

__version__ = "0.1.0"
