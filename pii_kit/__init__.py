"""Find personally identifiable information in student essays.

Data flows one way, one module per step, and this is also a good order to read them in:

    labels → data → sample → pieces → windows → sha_rnn | mobilebert → predict → decide → submission → metrics

`presets`, `optim`, `train` and `runs` fit a model and keep it; `cost`, `patterns`, `eda`, `highlight` and `plots`
are what the notebooks look at; `kaggle` knows the platform; `demo` runs the five notebooks in a row.
"""

__version__ = "0.1.0"
