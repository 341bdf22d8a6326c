"""Find personally identifiable information in student essays.

Data flows one way, and this is also a good order to read the modules in:

    labels → data → pieces → windows → models → predict → decide → rules → submission → metrics

Everything else serves these steps: `training` fits models and keeps them in run folders, `augment` makes its documents
anew each epoch, `sample` makes up documents, `report` has what the notebooks show, `kaggle` knows the platform, `cli`
has the commands, and `language_model` is SHA-RNN as its paper describes it.
"""

import os

# Lets torch count GPUs without initialising CUDA: a process that has initialised it cannot fork others for training.
os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

__version__ = "0.2.0"
