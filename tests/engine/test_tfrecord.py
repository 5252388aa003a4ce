"""TFRecord files against those that TensorFlow wrote, and against the record layout by hand."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest
from rasterml.engine.crc32c import checksums
from rasterml.engine.errors import StorageError, TableError
from rasterml.engine.progress import Progress
from rasterml.engine.tfrecord import (
    decode_example,
    encode_example,
    masked_checksums,
    read_records,
    record_file,
    write_records,
)

GOOD_FILES = (
    "points.tfrecord",
    "points.tfrecord.gz",
    "edge_cases.tfrecord",
    "edge_cases.tfrecord.gz",
    "patches.tfrecord.gz",
)
DAMAGED = {
    "bad_data_crc.tfrecord": "the checksum of the data is wrong",
    "bad_length_crc.tfrecord": "the checksum of a length is wrong",
    "truncated_data.tfrecord": "the file ends inside a record",
}


@pytest.fixture
def oracle(shared):
    return shared / "oracle" / "tfrecord"


class Listener(Progress):
    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


def records_before_the_error(path):
    """Return the records that come, and the error after them."""
    found = []
    with pytest.raises(TableError) as raised:
        for record in read_records(path):
            found.append(record)
    return found, str(raised.value)


def write(path, records):
    with record_file(path) as file:
        return write_records(file, records)


def as_decoded_json(feature):
    """Return a feature in the form of the oracle's decoded.json; floats as the bits of float32."""
    if feature is None:
        return {"kind": None}
    if isinstance(feature, list):
        return {"kind": "bytes_list", "value": [value.hex() for value in feature]}
    if feature.dtype == np.float32:
        return {"kind": "float_list", "value": bits(feature)}
    return {"kind": "int64_list", "value": feature.tolist()}


def bits(floats):
    return np.asarray(floats, dtype=np.float32).view(np.uint32).tolist()


def expected(feature):
    if feature["kind"] == "float_list":
        return {"kind": "float_list", "value": bits([float(value) for value in feature["value"]])}
    if feature["kind"] == "int64_list":
        return {"kind": "int64_list", "value": [int(value) for value in feature["value"]]}
    return feature


# Checksums


def test_checksums_are_google_s(oracle):
    vectors = json.loads((oracle / "crc32c.json").read_text())["vectors"]
    messages = [bytes.fromhex(vector["hex"]) for vector in vectors]

    assert checksums(messages).tolist() == [vector["crc32c"] for vector in vectors]
    assert [int.from_bytes(check, "little") for check in masked_checksums(messages)] == [
        vector["masked"] for vector in vectors
    ]


def checksum_bit_by_bit(message):
    register = 0xFFFFFFFF
    for octet in message:
        register ^= octet
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_checksums_equal_the_definition_for_every_length_and_mixture_of_lengths():
    generator = np.random.default_rng(3)
    messages = [generator.bytes(length) for length in [*range(40), 1000, 4099, 3, 0]]

    assert checksums(messages).tolist() == [checksum_bit_by_bit(message) for message in messages]
    assert checksums([]).tolist() == []


def test_checksums_of_more_than_a_run_of_messages():
    long, short = bytes(2_000_000), b"123456789"

    assert checksums([short, long, short, long, short]).tolist()[::2] == [0xE3069283] * 3  # the published check value


# Reading what TensorFlow wrote


@pytest.mark.parametrize("name", GOOD_FILES)
def test_examples_are_read_as_tensorflow_reads_them(oracle, name):
    files = json.loads((oracle / "decoded.json").read_text())["files"]
    wanted = next(item for item in files if item["file"] == name)["records"]
    records = list(read_records(oracle / name))

    assert [len(record) for record in records] == [item["length"] for item in wanted]
    for record, item in zip(records, wanted):
        found = {feature: as_decoded_json(values) for feature, values in decode_example(record).items()}
        assert found == {feature: expected(values) for feature, values in item["features"].items()}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_examples_written_again_have_tensorflow_s_bytes(oracle, tmp_path, name):
    records = list(read_records(oracle / name))
    written = tmp_path / name
    write(written, [encode_example(decode_example(record)) for record in records])
    opened = gzip.open if name.endswith(".gz") else open

    with opened(written, "rb") as ours, opened(oracle / name, "rb") as theirs:
        assert ours.read() == theirs.read()


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_an_error_after_the_records_before_it(oracle, name):
    item = next(item for item in json.loads((oracle / "corrupt.json").read_text()) if item["file"] == name)
    found, message = records_before_the_error(oracle / name)

    assert item["tensorflow_error"] == "DataLossError"
    assert found == list(read_records(oracle / "points.tfrecord"))[: item["tensorflow_records_read_before_error"]]
    assert message.endswith(f"{name} is damaged after 6 records ({DAMAGED[name]}): copy or export it again.")


def test_file_cut_inside_a_header_gives_its_records_and_a_warning(oracle):
    listener = Listener()
    found = list(read_records(oracle / "truncated_header.tfrecord", listener))

    assert found == list(read_records(oracle / "points.tfrecord"))[:6]
    assert len(listener.warnings) == 1 and "cut off after 6 records" in listener.warnings[0]


def test_empty_file_has_no_records_and_no_warning(oracle):
    listener = Listener()

    assert list(read_records(oracle / "empty.tfrecord", listener)) == [] and listener.warnings == []


def test_damage_in_a_compressed_file_is_an_error(oracle, tmp_path):
    whole = (oracle / "edge_cases.tfrecord.gz").read_bytes()
    (tmp_path / "cut.tfrecord.gz").write_bytes(whole[:-30])
    (tmp_path / "other.tfrecord.gz").write_bytes(b"no gzip at all")

    assert "cut.tfrecord.gz is damaged after" in records_before_the_error(tmp_path / "cut.tfrecord.gz")[1]
    assert "other.tfrecord.gz is damaged after 0" in records_before_the_error(tmp_path / "other.tfrecord.gz")[1]


def test_file_of_another_kind_and_a_missing_one_are_named(oracle, tmp_path):
    (tmp_path / "packed.tfrecord").write_bytes((oracle / "points.tfrecord.gz").read_bytes())

    assert "a compressed one must end in .gz" in records_before_the_error(tmp_path / "packed.tfrecord")[1]
    assert "none.tfrecord cannot be opened (No such file" in records_before_the_error(tmp_path / "none.tfrecord")[1]


def test_length_that_lies_takes_no_memory(tmp_path, peak_memory):
    for number, (length, reason) in enumerate([(2**60, "longer than any"), (2**31 - 1, "ends inside a record")]):
        size = length.to_bytes(8, "little")
        path = tmp_path / f"{number}.tfrecord"
        path.write_bytes(size + masked_checksums([size])[0] + b"few bytes")

        assert reason in records_before_the_error(path)[1]
        assert peak_memory(records_before_the_error, path) < 2**26


# Writing


def test_record_is_length_checksum_data_checksum(tmp_path):
    """123456789 and its masked CRC-32C (oracle's crc32c.json), written out by hand."""
    path = tmp_path / "one.tfrecord"
    count = write(path, [b"123456789"])
    content = path.read_bytes()

    assert count == 1 and len(content) == 8 + 4 + 9 + 4
    assert struct.unpack("<Q", content[:8]) == (9,)
    assert struct.unpack("<I", content[8:12]) == (masked_by_hand(content[:8]),)
    assert content[12:21] == b"123456789"
    assert struct.unpack("<I", content[21:]) == (3347755237,)


def masked_by_hand(message):
    plain = checksum_bit_by_bit(message)
    return ((plain >> 15 | plain << 17) + 0xA282EAD8) % 2**32


def test_example_has_the_bytes_of_the_protocol_buffer():
    """One float 1.5 (00 00 C0 3F) named a: Feature 12 06 0A 04 …, entry 0A 01 61 12 08 …, Features, Example."""
    feature = bytes.fromhex("1206 0a04 0000c03f")
    entry = bytes.fromhex("0a0161 1208") + feature

    example = encode_example({"a": np.array([1.5])})

    assert example == bytes([0x0A, len(entry) + 2, 0x0A, len(entry)]) + entry


@pytest.mark.parametrize("name", ["some.tfrecord", "some.tfrecord.gz"])
def test_what_is_written_is_read_again(tmp_path, name):
    generator = np.random.default_rng(1)
    examples = [
        {
            "band": generator.normal(size=(5, 5)).astype(np.float32),
            "class": np.array([-7, 0, 300]),
            "name": ["Grünland".encode(), b"\x00\xff"],
            "long": np.zeros(1_000_000 if number % 5 == 4 else number),  # several batches, unequal records
            "none": None,
        }
        for number in range(12)
    ]
    path = tmp_path / name
    write(path, map(encode_example, examples))

    again = [decode_example(record) for record in read_records(path)]
    assert len(again) == 12
    for before, after in zip(examples, again):
        assert list(after) == list(before)
        assert np.array_equal(after["band"], before["band"].ravel())
        assert after["class"].dtype == np.int64 and after["class"].tolist() == [-7, 0, 300]
        assert after["name"] == before["name"] and after["none"] is None
        assert len(after["long"]) == len(before["long"])


def test_compressed_file_has_neither_time_nor_name_so_that_the_same_records_give_the_same_bytes(tmp_path):
    write(tmp_path / "one.tfrecord.gz", [b"data"])

    flags, time = struct.unpack("<BI", (tmp_path / "one.tfrecord.gz").read_bytes()[3:8])
    assert (flags, time) == (0, 0)


def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path):
    def records():
        yield b"first"
        raise TableError("no second one")

    for name in ("broken.tfrecord", "broken.tfrecord.gz"):
        with pytest.raises(TableError, match="no second one"):
            write(tmp_path / name, records())
    with pytest.raises(StorageError, match="does not exist"):
        write(tmp_path / "nowhere" / "x.tfrecord", [])

    assert list(tmp_path.iterdir()) == []


# Forms that TensorFlow reads but does not write


def message(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def example(feature, name=b"a"):
    return message(1, message(1, message(1, name) + message(2, feature)))


def test_lists_that_are_not_packed_are_read():
    floats = message(2, b"\x0d\x00\x00\xc0\x3f" + b"\x0d\x00\x00\x20\xc0" + message(1, b"\x00\x00\x80\x3f"))
    integers = message(3, b"\x08\x01" + b"\x08\xac\x02" + b"\x08" + b"\xff" * 9 + b"\x01")

    assert decode_example(example(floats))["a"].tolist() == [1.5, -2.5, 1.0]
    assert decode_example(example(integers))["a"].tolist() == [1, 300, -1]


def test_list_in_two_pieces_is_one_and_of_two_kinds_the_last_one_counts():
    floats, text = message(2, message(1, b"\x00\x00\xc0\x3f")), message(1, message(1, b"x"))

    assert decode_example(example(text + floats + floats))["a"].tolist() == [1.5, 1.5]
    assert decode_example(example(floats + text))["a"] == [b"x"]


def test_unknown_fields_are_skipped_and_the_last_of_equal_names_counts():
    later = message(1, message(1, message(1, b"a") + message(2, message(1, message(1, b"later")))))
    strange = b"\x48\x96\x01" + message(7, b"new") + b"\x39" + bytes(8) + b"\x35" + bytes(4)

    assert decode_example(strange + example(b"") + later) == {"a": [b"later"]}


@pytest.mark.parametrize(
    "record",
    [
        b"\x0a",  # a length is missing
        b"\x0a\x05abc",  # shorter than it says
        b"\x0b",  # a group, which Example does not have
        b"\xff" * 11,  # a number without end
        example(message(2, message(1, b"\x00\x00\xc0"))),  # three quarters of a float
        example(message(3, message(1, b"\x80"))),  # an integer without end
        example(message(3, message(1, b"\xff" * 10 + b"\x01"))),  # of eleven bytes
        example(b"", name=b"\xff"),  # no UTF-8
    ],
)
def test_record_of_another_kind_is_refused(record):
    with pytest.raises(TableError, match=r"A record holds no tf\.train\.Example \(.+\): export it in that form\."):
        decode_example(record)
