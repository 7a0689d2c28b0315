"""Raw tensors: the task of a model about which nothing more is known."""

from __future__ import annotations

from tf_serving_flask_app.errors import NotFound
from tf_serving_flask_app.model import Model
from tf_serving_flask_app.settings import Settings
from tf_serving_flask_app.tasks.base import Task, warm_signature


class TensorTask(Task):
    """Serves a model's signatures as they are; pictures only where the spec calls an input an image."""

    def __init__(self, model: Model, settings: Settings) -> None:
        super().__init__(model, settings)
        for name, tensor in model.spec.inputs.items():
            if tensor.type == "image":
                self.image_input(model.signature().inputs[name])

    def warm(self) -> None:
        """Run the spec's signature once; one that changes the model's state (it takes no input) is left alone."""
        try:
            signature = self.model.signature()
        except NotFound:
            return
        if signature.inputs:
            warm_signature(self.model, signature)
