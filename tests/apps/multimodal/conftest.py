"""A run of pictures and captions that every test of its use shares."""

import pytest

from pangu_jax import cli

TINY = (
    "STEPS=4",
    "train.batch_size=16",
    "train.validate_every=4",
    "train.checkpoint_every=4",
    "train.log_every=2",
    "VisionTransformer.layers=1",
    "VisionTransformer.d_model=32",
    "EncoderDecoder.d_model=32",
    "EncoderDecoder.d_ff=32",
    "EncoderDecoder.encoder_layers=1",
    "EncoderDecoder.decoder_layers=1",
    "ImageTextModel.width=16",
    "pairs.validation_fraction=0.02",
)


@pytest.fixture(scope="package")
def run_dir(tmp_path_factory):
    """Four steps on drawn shapes: a tenth of a second of learning, and every file that a run has."""
    directory = tmp_path_factory.mktemp("multimodal") / "run"
    given = [f"--gin.{binding}" for binding in TINY]
    recipe = ["--gin_file", "gin/multimodal/quickstart.gin"]
    assert cli.main(["train", *recipe, "--run_dir", str(directory), *given]) == 0
    return directory


@pytest.fixture
def pangu(capsys):
    """Runs `pangu` and gives status, output and errors."""

    def call(*arguments):
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            status = exit_.code
        said = capsys.readouterr()
        return status, said.out, said.err

    return call
