"""Published networks: where their files are, and the small ones of them kept.

Enters: a source, as in `encoder = "hf:SOURCE"`: a folder in Hugging Face's layout, or a name on its hub, with
a revision.  Leaves: the folder; and `Published`, the configuration, tokenizer and processor files as plain bytes,
which go with a saved model, so that it needs the source no more.

Nothing that is published is ever run as code: an architecture is one that the installed transformers knows, and
weights are safetensors, or a .bin file read with `weights_only`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from sensorium.core.errors import ConfigError, MissingExtraError, ModelError

T = TypeVar("T")

CONFIG = "config.json"
SMALL_FILES = (
    *(CONFIG, "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model"),
)
SAFE_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLED_WEIGHTS = ("pytorch_model*.bin", "pytorch_model.bin.index.json")

_HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ORIGIN = "origin.json"
_MAX_BYTES = 256 * 2**20  # of one small file: the largest tokenizers take some tens of MiB


def import_transformers() -> Any:
    """Import transformers.  Raises MissingExtraError."""
    try:
        import transformers
    except ImportError as error:
        advice = "pip install 'sensorium[hf]'"
        raise MissingExtraError(f"'hf:' needs transformers: {error}", advice=advice) from None
    return transformers


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers from printing: what it would say is checked, and raised where it matters."""
    logging = import_transformers().utils.logging
    level, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bar:
            logging.enable_progress_bar()


def pinned_revision(source: str, revision: str | None) -> str | None:
    """Return the commit, 40 hex digits, that a revision of a hub's network is now; of a folder, `revision` itself.

    Raises:
        ConfigError: a revision of a folder, or a name that the hub does not answer for.
    """
    if not is_hub_name(source):
        if revision is not None:
            raise ConfigError("a folder has no revisions", where=source, advice="leave 'revision' out")
        return None
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    try:
        return _download(source, revision, (CONFIG,)).name
    except ModelError as error:
        raise ConfigError(error.what, where=error.where, advice=error.advice) from None


def is_hub_name(source: str) -> bool:
    """Say whether a source is a name on the hub: it looks like one, and there is no such folder."""
    return bool(_HUB_NAME.fullmatch(source)) and not Path(source).is_dir()


def folder_of(source: str, revision: str | None, *, with_weights: bool = False) -> Path:
    """Return the folder that holds a source's files, downloaded if they are the hub's and not here yet.

    Raises:
        ModelError: no such folder, or the hub does not answer and keeps no copy here.
        MissingExtraError: the hub's client is not installed.
    """
    if not is_hub_name(source):
        folder = Path(source).expanduser()
        if not folder.is_dir():
            advice = "name a folder that holds config.json and weights, or a name on the hub"
            raise ModelError("no such folder of a published network", where=source, advice=advice)
        return folder
    folder = _download(source, revision, (*SMALL_FILES, *(SAFE_WEIGHTS if with_weights else ())))
    if with_weights and not list(folder.glob("*.safetensors")):
        folder = _download(source, revision, PICKLED_WEIGHTS)
    return folder


def _download(name: str, revision: str | None, patterns: tuple[str, ...]) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        advice = "pip install 'sensorium[hf]'"
        raise MissingExtraError(f"'hf:{name}' needs huggingface_hub: {error}", advice=advice) from None
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # the client and the network raise many kinds
        raise ModelError(
            f"is no folder here, and cannot be had from the hub: {str(error).partition(chr(10))[0]}",
            where=f"hf:{name}",
            advice=f"where there is a network, `hf download {name} --local-dir FOLDER`, then name that folder",
        ) from None


class Published:
    """The small files of a published network, by name: plain data, which can be pickled and saved.

    Args:
        files: contents by name.
        source: where they are from.
        revision: the commit, where the source is the hub's.

    Raises:
        ModelError: no readable config.json among them.
    """

    def __init__(self, files: Mapping[str, bytes], source: str, revision: str | None) -> None:
        self.files = dict(files)
        self.source, self.revision = source, revision
        if CONFIG not in self.files:
            advice = "a folder of transformers' save_pretrained, or of the hub, has one"
            raise ModelError(f"holds no {CONFIG}, which says what network it is", where=source, advice=advice)
        self.config: dict[str, Any] = self.facts(CONFIG)

    @classmethod
    def read(cls, source: str, revision: str | None) -> Self:
        """Read the small files of a source.  Raises ModelError, MissingExtraError."""
        return cls(_small_files(folder_of(source, revision)), source, revision)

    def facts(self, name: str) -> dict[str, Any]:
        """Return what a JSON file says; nothing where there is none.  Raises ModelError."""
        try:
            found = json.loads(self.files.get(name, b"{}"))
        except ValueError as error:
            raise ModelError(f"'{name}' is not JSON: {error}", where=self.source) from None
        if not isinstance(found, dict):
            raise ModelError(f"'{name}' holds no keys", where=self.source)
        return found

    def opened(self, open_folder: Callable[[str], T], what: str) -> T:
        """Call `open_folder` with a folder of these files, and return what it returns.

        Raises:
            ModelError: it does not open; `what` names what was wanted.
        """
        with tempfile.TemporaryDirectory() as folder, quietly():
            for name, content in self.files.items():
                (Path(folder) / name).write_bytes(content)
            try:
                return open_folder(folder)
            except Exception as error:  # each class of transformers raises its own kinds
                reason = str(error).replace(folder, self.source).partition("\n")[0]
                advice = "save it into the same folder: save_pretrained(FOLDER)"
                raise ModelError(f"holds no usable {what}: {reason}", where=self.source, advice=advice) from None

    def tokenizer(self) -> Any:
        """Open the tokenizer, of transformers' own class.

        Raises:
            ModelError: there is none, or it is another network's (`require_vocabulary`).
        """
        load = import_transformers().AutoTokenizer.from_pretrained
        found = self.opened(lambda at: load(at, local_files_only=True, trust_remote_code=False), "tokenizer")
        special = set(found.all_special_ids)
        require_vocabulary({i for i in found.get_vocab().values() if i not in special}, self.config, self.source)
        return found

    @property
    def digest(self) -> str:
        """Name these files: 16 hex digits of SHA-256 over names and contents."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write the files into `folder`, with where they are from."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        origin = {"source": self.source, "revision": self.revision}
        (folder / _ORIGIN).write_text(json.dumps(origin), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.  Raises ModelError."""
        try:
            origin = json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))
            return cls(_small_files(folder), str(origin["source"]), origin["revision"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"does not say what network it is of: {error}", where=str(folder / _ORIGIN)) from None


def require_vocabulary(ids: Collection[int], config: Mapping[str, Any], where: str) -> None:
    """Raise ModelError where a tokenizer cannot be the one that a network was trained with.

    Where a folder lacks its vocabulary, transformers makes a tokenizer of nothing but special signs; so one of far
    fewer tokens than there are word vectors is refused, like one that has numbers beyond them.

    Args:
        ids: the numbers of its ordinary tokens.
        config: the keys of config.json.
    """
    sizes = [config, *(config.get(part) or {} for part in ("text_config", "decoder", "text_encoder"))]
    num_vectors = next((n for one in sizes if isinstance(n := one.get("vocab_size"), int)), None)
    if num_vectors is None:
        return
    counts = f"{num_vectors:,} word vectors, {len(ids):,} tokens"
    advice = "save its own tokenizer into the same folder: tokenizer.save_pretrained(FOLDER)"
    if len(ids) * 2 < num_vectors:
        raise ModelError(f"holds no tokenizer of its own ({counts})", where=where, advice=advice)
    if max(ids) >= num_vectors:
        raise ModelError(f"holds the tokenizer of another network ({counts})", where=where, advice=advice)


def _small_files(folder: Path) -> dict[str, bytes]:
    found = [path for name in SMALL_FILES if (path := folder / name).is_file()]
    for path in found:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"'{path.name}' has {path.stat().st_size:,} bytes", where=str(folder))
    return {path.name: path.read_bytes() for path in found}
