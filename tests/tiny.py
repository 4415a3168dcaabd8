"""A config file for tests: a small network that is not a ConvNet, with everything that a checkpoint must save."""

import jax
from flax import linen as nn

from jaxcnn import Augment, Data, Experiment, Fake, Optimizer, Schedule


class Tiny(nn.Module):
    """A network of a convolution, batch normalization, dropout and a dense layer."""

    features: int = 4
    rate: float = 0.1
    hidden: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = nn.Conv(self.features, (3, 3), strides=(2, 2), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = nn.Dropout(self.rate, deterministic=not train)(nn.relu(x).reshape(x.shape[0], -1))
        for number, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, name=f"hidden{number}")(x))
        return nn.Dense(4, name="output")(x)


def get_config() -> Experiment:
    return Experiment(
        model=Tiny(),
        data=Data(
            source="fake",
            fake=Fake(shape=(8, 8, 1), num_classes=4, train=70, test=40),
            batch_size=16,
            eval_batch_size=16,
            mean=(0.4,),
            std=(0.3,),
        ),
        augment=Augment(flip=True),
        optimizer=Optimizer(learning_rate=0.02, schedule=Schedule(name="plateau", factor=0.5, patience=1)),
        epochs=6,
        checkpoint_every=2,
        log_every=3,
    )
