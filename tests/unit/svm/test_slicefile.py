"""The slice XML file: what the howto shows passes, everything else gets one clear line."""

from io import BytesIO
from pathlib import Path

import pytest

from svm import slicefile
from svm.slicefile import MAX_BYTES, SliceFile, parse_slice_file, read_slice_file
from trust import documents
from trust.errors import Code, Refusal
from trust.needs import BOUNDS, NOTHING, Needs

HOWTO = b"""<?xml version="1.0" ?>
<slice>
  <name>oceanstore</name>
  <numnodes>2</numnodes>
  <leaselen>1209600</leaselen>
  <ips>141.213.4.201 216.165.109.81
       216.165.109.82</ips>
</slice>
"""


def slice_xml(inner: str = "", **elements: str) -> bytes:
    fields = {"name": "demo", "numnodes": "2", "leaselen": "3600"} | elements
    body = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    return f"<slice>{body}{inner}</slice>".encode()


def refused(data: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        parse_slice_file(data)
    assert caught.value.code is Code.BAD_INPUT
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_the_howtos_file() -> None:
    found = parse_slice_file(HOWTO)
    assert found == SliceFile("oceanstore", 2, 1_209_600, ("141.213.4.201", "216.165.109.81", "216.165.109.82"))


def test_the_example_of_its_page() -> None:
    page = (Path(__file__).parents[3] / "docs" / "slice-file.md").read_text()
    example = page.partition("```xml\n")[2].partition("```")[0]
    assert parse_slice_file(example.encode()) == parse_slice_file(HOWTO)


def test_without_ips_the_agent_chooses() -> None:
    assert parse_slice_file(slice_xml()) == SliceFile("demo", 2, 3600, ())


def test_spaces_around_values() -> None:
    assert parse_slice_file(slice_xml(name="\n demo ", numnodes=" 2\n")).name == "demo"


def test_other_encodings_of_xml() -> None:
    assert parse_slice_file(slice_xml().decode().encode("utf-16")).name == "demo"


def test_ipv6_in_its_usual_form() -> None:
    assert parse_slice_file(slice_xml(numnodes="1", ips="2001:DB8:0::1")).ips == ("2001:db8::1",)


@pytest.mark.parametrize("numnodes", ["0", "-1", "1e3", "10^9", "1.0", "", "+2", "0x10", "２", "1_000", "1 2"])
def test_numnodes_that_are_no_positive_number(numnodes: str) -> None:
    assert "numnodes must be a whole number above 0" in refused(slice_xml(numnodes=numnodes))


def test_numnodes_beyond_any_testbed() -> None:
    assert "most allowed is 100000" in refused(slice_xml(numnodes=str(10**9)))


def test_leaselen_at_and_over_the_maximum() -> None:
    assert parse_slice_file(slice_xml(leaselen="1209600")).leaselen == 1_209_600
    assert "most allowed is 1209600" in refused(slice_xml(leaselen="1209601"))


@pytest.mark.parametrize("leaselen", ["0", "-5", "two weeks"])
def test_leaselen_that_is_no_positive_number(leaselen: str) -> None:
    assert "leaselen must be a whole number" in refused(slice_xml(leaselen=leaselen))


@pytest.mark.parametrize("name", ["", "root", "../x", "Demo", "a", "x" * 40, "9lives", "de mo"])
def test_names_that_are_no_slice_names(name: str) -> None:
    refused(slice_xml(name=name))


@pytest.mark.parametrize("missing", ["name", "numnodes", "leaselen"])
def test_a_missing_element(missing: str) -> None:
    whole = slice_xml().decode()
    start, end = whole.index(f"<{missing}>"), whole.index(f"</{missing}>") + len(missing) + 3
    assert f"<{missing}> is missing" in refused((whole[:start] + whole[end:]).encode())


def test_an_unknown_element() -> None:
    assert "unknown element <color>" in refused(slice_xml(color="red"))


def test_a_doubled_element() -> None:
    assert "<name> stands there twice" in refused(slice_xml("<name>other</name>"))


def test_another_outer_element() -> None:
    assert "it must be <slice>" in refused(b"<sliver/>")


def test_a_namespace_changes_nothing() -> None:
    plain = slice_xml(ips="1.2.3.4 1.2.3.5")
    for xmlns in (b'xmlns="urn:x"', b'xmlns="http://www.planet-lab.org/" xmlns:xsi="urn:y"'):
        assert parse_slice_file(plain.replace(b"<slice>", b"<slice " + xmlns + b">", 1)) == parse_slice_file(plain)


def test_an_element_of_another_namespace_is_unknown() -> None:
    data = slice_xml().replace(b"<slice>", b'<slice xmlns="urn:x">').replace(b"<name>", b'<name xmlns="urn:y">')
    assert "unknown element" in refused(data)


@pytest.mark.parametrize("xmlns", ["", ' xmlns="http://www.geni.net/resources/rspec/3" type="request"'])
def test_an_rspec_is_called_by_its_name(xmlns: str) -> None:
    reason = refused(f'<?xml version="1.0"?><rspec{xmlns}><node client_id="n1"/></rspec>'.encode())
    assert "an rspec, of GENI; write a <slice> with <name>, <numnodes>, <leaselen> and <ips>" in reason


@pytest.mark.parametrize("before", [b"\n", b"  \r\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_blank_lines_before_the_declaration(before: bytes) -> None:
    assert parse_slice_file(before + HOWTO) == parse_slice_file(HOWTO)


@pytest.mark.parametrize("ips", ["1.2.3.4,1.2.3.5", "1.2.3.4, 1.2.3.5,", "\n1.2.3.4 ;\n\t1.2.3.5\n"])
def test_commas_between_ips(ips: str) -> None:
    assert parse_slice_file(slice_xml(ips=ips)).ips == ("1.2.3.4", "1.2.3.5")


def test_an_element_inside_an_element() -> None:
    assert "holds text only" in refused(slice_xml(name="<b>demo</b>"))


def test_attributes() -> None:
    assert "has an attribute" in refused(b'<slice version="2"></slice>')


def test_text_between_elements() -> None:
    assert "text outside" in refused(slice_xml("hello"))


@pytest.mark.parametrize(
    "data", [b"", b"name: demo", b"<slice>", b"<slice></slice><slice></slice>", b"\x00\xff", b"{}"]
)
def test_not_xml(data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("data", [b"name: demo\n", b'{"name": "demo"}', b"numnodes = 2"])
def test_what_is_no_xml_at_all_is_told_what_a_slice_file_is(data: bytes) -> None:
    assert "no XML; a slice file begins with <slice>" in refused(data)


@pytest.mark.parametrize("after", ["<", "<slice/>", "&", "\x00", "</slice>"])
def test_a_whole_slice_and_then_something_else(after: str) -> None:
    assert "not well-formed XML at line 1" in refused(slice_xml() + after.encode())


@pytest.mark.parametrize("encoding", ["no-such", "idna", "utf-7", "utf-32"])
def test_an_encoding_that_xml_does_not_know(encoding: str) -> None:
    refused(f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + slice_xml())


def test_an_encoding_that_python_only_knows() -> None:
    assert "save it as UTF-8" in refused(b'<?xml version="1.0" encoding="no-such"?>' + slice_xml())


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE slice>",
        '<!DOCTYPE slice SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE slice [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
        '<!DOCTYPE slice [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_doctypes_and_entity_bombs(doctype: str) -> None:
    assert "DOCTYPE" in refused(doctype.encode() + slice_xml(name="&c;"))


def test_a_hundred_thousand_levels_never_reach_a_parser() -> None:
    assert "larger than 64 KiB" in refused(b"<slice>" * 100_000 + b"</slice>" * 100_000)


def test_levels_below_the_size_limit_build_no_tree() -> None:
    refused(b"<slice>" + b"<a>" * 20_000)


def test_ten_megabytes_are_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "big.xml"
    path.write_bytes(slice_xml() + b" " * 10_000_000)
    with pytest.raises(Refusal, match="larger than 64 KiB"):
        read_slice_file(str(path))


def test_exactly_the_size_limit() -> None:
    data = slice_xml()
    assert parse_slice_file(data + b" " * (MAX_BYTES - len(data))).name == "demo"
    refused(data + b" " * (MAX_BYTES - len(data) + 1))


@pytest.mark.parametrize("ip", ["1.2.3", "1.2.3.4.5", "256.1.1.1", "node7", "fe80::1%eth0", "1.2.3.4/24"])
def test_ips_that_are_no_addresses(ip: str) -> None:
    assert f"'{ip}' in ips" in refused(slice_xml(numnodes="1", ips=f"1.2.3.4 {ip}"))


def test_a_node_twice_is_one_node_however_it_is_written() -> None:
    found = parse_slice_file(slice_xml(ips="1.2.3.4 2001:db8::1 1.2.3.4 2001:DB8:0::1"))
    assert found.ips == ("1.2.3.4", "2001:db8::1")
    assert "ips lists only 1;" in refused(slice_xml(ips="1.2.3.4 1.2.3.4"))


def test_more_nodes_than_ips() -> None:
    assert "numnodes is 3 but ips lists only 2" in refused(slice_xml(numnodes="3", ips="1.2.3.4 1.2.3.5"))


def test_ips_that_are_there_but_empty_choose_nothing() -> None:
    assert parse_slice_file(slice_xml(ips=" ")).ips == ()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no such file") as caught:
        read_slice_file(str(tmp_path / "none.xml"))
    assert caught.value.code is Code.BAD_INPUT


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="is a directory"):
        read_slice_file(str(tmp_path))


def test_stdin() -> None:
    assert read_slice_file("-", BytesIO(HOWTO)).name == "oceanstore"


def test_a_refusal_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "demo.xml"
    path.write_bytes(b"<sliver/>")
    with pytest.raises(Refusal, match=r"demo\.xml: the outer element"):
        read_slice_file(str(path))


def test_the_longest_lease_is_that_of_the_documents() -> None:
    assert slicefile.MAX_LEASELEN == documents.MAX_LEASELEN


def test_what_it_needs() -> None:
    assert parse_slice_file(HOWTO).needs == NOTHING
    assert "needs" not in parse_slice_file(HOWTO).to_json()
    whole = slice_xml(memory="4096", disk=" 10000 ", processes="64", cpu="200", image="bookworm-2.1")
    needs = Needs(memory_mb=4096, disk_mb=10_000, processes=64, cpu=200, image="bookworm-2.1")
    assert parse_slice_file(whole).needs == needs
    assert parse_slice_file(whole).to_json()["needs"] == needs.to_json()


@pytest.mark.parametrize(
    ("element", "name"),
    [("memory", "memory_mb"), ("disk", "disk_mb"), ("processes", "processes"), ("cpu", "cpu")],
)
def test_needs_out_of_bounds(element: str, name: str) -> None:
    least, most = BOUNDS[name]
    assert f"most allowed is {most}" in refused(slice_xml(**{element: str(most + 1)}))
    for wrong in ("", "many", "1.5", "-1", "512M", "0"):
        assert f"{element} must be a whole number above 0" in refused(slice_xml(**{element: wrong}))
    if least > 1:
        assert f"{element} is {least - 1}; the least allowed is {least}" in refused(
            slice_xml(**{element: str(least - 1)})
        )


@pytest.mark.parametrize("image", ["", "Bookworm", "../etc", "a b", "x" * 64])
def test_no_images_name(image: str) -> None:
    assert "is no image's name" in refused(slice_xml(image=image))


def test_a_digest_is_not_the_users_to_choose() -> None:
    assert "unknown element <digest>" in refused(slice_xml(digest="ab" * 32))
