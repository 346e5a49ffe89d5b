"""recover: the rows of a storage whose manifest is lost."""

from pathlib import Path

import numpy as np
import pytest

from llm_compression import MultimodalStorage, VectorIdentity, recover
from llm_compression.errors import DamagedStorageError, InputError, StorageNotFoundError
from llm_compression.memory.storage.manifest import MANIFEST
from llm_compression.memory.storage.snapshot import DamagedFragmentWarning

VECTORS = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)


@pytest.fixture(params=["float32", "float16", "int8"])
def lost(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Three files of `text`, of which rows were deleted and changed, and one of `clip`."""
    storage = MultimodalStorage(tmp_path / "old", auto_compact=False, dtype=request.param)
    for i in (0, 3, 6):
        ids = [f"row {j}" for j in range(i, i + 3)]
        storage.store_text_embeddings(ids, ids, VECTORS[i : i + 3], "m", [{"n": i}] * 3)
    storage.store_clip_embedding("c", "c.png", "image", VECTORS[0])
    storage.delete("text", ["row 1"])
    storage.delete("text", ["row 2"])
    storage.update("text", "row 4", source="changed")
    (tmp_path / "old" / "text" / MANIFEST).write_bytes(b"{}")
    return tmp_path / "old"


def test_the_error_of_a_lost_manifest_names_the_remedy(lost: Path) -> None:
    with pytest.raises(DamagedStorageError, match=r"llm_compression\.recover\(path, target\)"):
        MultimodalStorage(lost).count("text")


def test_every_live_row_is_saved_with_all_that_it_has(lost: Path, tmp_path: Path) -> None:
    assert recover(lost, tmp_path / "new") == {"text": 7, "clip": 1}
    storage = MultimodalStorage(tmp_path / "new")
    table = storage.query("text")
    ids = [f"row {i}" for i in (0, 3, 5, 6, 7, 8, 4)]
    assert table["embedding_id"].to_pylist() == ids
    assert table["text_id"].to_pylist() == [*ids[:-1], "changed"]
    assert [m.embedding_id for m in storage.search(VECTORS[7], top_k=1)] == ["row 7"]
    assert storage.query("text", filter={"n": 6}).num_rows == 3
    assert [one.model for one in storage.identities("text")] == ["m"]


def test_bits_are_those_that_were_stored(lost: Path, tmp_path: Path) -> None:
    whole = MultimodalStorage(tmp_path / "whole", dtype=_dtype(lost))
    whole.store_text_embeddings([str(i) for i in range(9)], ["x"] * 9, VECTORS, "m")
    recover(lost, tmp_path / "new")
    found = MultimodalStorage(tmp_path / "new").query("text", embedding_ids=["row 7"])
    wanted = whole.query("text", embedding_ids=["7"])
    assert found["embedding"].to_pylist() == wanted["embedding"].to_pylist()


def _dtype(lost: Path) -> str:
    (dtype,) = MultimodalStorage(lost).query("clip", columns=["dtype"])["dtype"].to_pylist()
    return dtype


def test_a_damaged_file_is_left_out_with_a_warning(lost: Path, tmp_path: Path) -> None:
    files = sorted((lost / "text" / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    content = bytearray(files[2].read_bytes())
    content[len(content) // 4] ^= 8
    files[2].write_bytes(bytes(content))
    (lost / "text" / "data" / "other.parquet").write_bytes(b"PAR1")
    with pytest.warns(DamagedFragmentWarning) as warned:
        found = recover(lost, tmp_path / "new")
    assert found == {"text": 4, "clip": 1}
    assert {Path(str(w.message).split()[0]).name for w in warned} == {
        files[2].name,
        "other.parquet",
    }


def test_a_damaged_list_lets_deleted_rows_come_back(lost: Path, tmp_path: Path) -> None:
    for path in (lost / "text" / "deleted").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(DamagedFragmentWarning):
        assert recover(lost, tmp_path / "new")["text"] == 9
    table = MultimodalStorage(tmp_path / "new").query("text", embedding_ids=["row 4"])
    assert table["text_id"].to_pylist() == ["changed"]


def test_several_kinds_of_vectors_stay_apart(tmp_path: Path) -> None:
    storage = MultimodalStorage(tmp_path / "old", several_models=True)
    for name in ("one", "two"):
        made = VectorIdentity.declared("text", name, 4, normalized=False, precision="float32")
        storage.store("text", [name], [name], VECTORS[:1], identity=made)
    (tmp_path / "old" / "text" / MANIFEST).unlink()
    recover(tmp_path / "old", tmp_path / "new")
    kinds = MultimodalStorage(tmp_path / "new").identities("text")
    assert [one.model for one in kinds] == ["one", "two"]


def test_wrong_places_are_refused(lost: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageNotFoundError, match="no files of rows"):
        recover(tmp_path / "none", tmp_path / "new")
    with pytest.raises(InputError, match="holds a storage already"):
        recover(lost, lost)
