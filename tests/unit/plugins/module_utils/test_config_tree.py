# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What config_tree asks for, decides and writes, without Ansible."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.infn.cloud.plugins.module_utils._config_tree import (
    Account,
    ConfigTreeError,
    Found,
    Step,
    Surroundings,
    Wanted,
    Writer,
    decode_payload,
    diff_of,
    encode_payload,
    find_user,
    look_at,
    parse_files,
    plan,
    staged,
    validation_command,
)

ROOT = Account("root", 0)


def parse(*files, **defaults):
    return parse_files(files, defaults, bool)


def only(entry, **defaults):
    (source,) = parse(entry, **defaults)
    return source


def plan_one(wanted, found=None, *, tolerant=False, **around):
    around.setdefault("parent_exists", True)
    surroundings = {wanted.path: Surroundings(found=found or Found(), **around)}
    steps = plan([wanted], surroundings, tolerant=tolerant)
    return steps[0] if steps else None


class TestParsing:
    def test_a_path_is_rendered_from_its_own_template_with_the_defaults(self):
        source = only("/etc/swift/swift.conf", owner="root", group="swift", mode="0640")
        assert source.template == "etc/swift/swift.conf.j2"
        assert source.wanted == Wanted(
            "/etc/swift/swift.conf", owner="root", group="swift", mode=0o640
        )

    def test_an_entry_overrides_the_defaults(self):
        source = only({"path": "/a", "mode": "0600", "owner": 5}, owner="root", mode="0644")
        assert (source.wanted.mode, source.wanted.owner) == (0o600, "5")

    def test_a_directory_takes_the_directory_mode(self):
        source = only({"path": "/a", "state": "directory"}, mode="0640", directory_mode="0750")
        assert (source.wanted.mode, source.template) == (0o750, None)

    def test_an_absent_path_may_keep_what_else_it_says(self):
        source = only({"path": "/a", "state": "absent", "secret": True, "template": "a.j2"})
        assert source.wanted == Wanted("/a", state="absent")
        assert source.template is None

    def test_data_given_as_content_is_written_as_json(self):
        assert only({"path": "/a", "content": {"b": 1}}).wanted.content == '{"b": 1}'

    def test_a_trailing_slash_is_no_other_path(self):
        assert only({"path": "/a/b/", "state": "directory"}).wanted.path == "/a/b"

    def test_a_secret_without_a_mode_is_for_its_owner(self):
        assert only({"path": "/a", "secret": True}).wanted.mode == 0o600

    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ("etc/a", "not an absolute path"),
            ("/etc/../a", "not an absolute path"),
            ("/", "root directory"),
            (5, "neither a path nor a dictionary"),
            ({"dest": "/a"}, "no path"),
            ({"path": "/a", "dest": "/b"}, "/a: unknown key dest"),
            ({"path": "/a", "state": "link"}, "/a: state 'link' is not one of"),
            ({"path": "/a", "mode": 416}, "/a: mode 416 is not a quoted octal"),
            ({"path": "/a", "mode": "u=rw"}, "not a quoted octal"),
            ({"path": "/a", "content": "", "template": "b"}, "content excludes template"),
            ({"path": "/a", "content": "", "vars": {}}, "content excludes template and vars"),
            ({"path": "/a", "state": "directory", "content": ""}, "a directory has no content"),
            ({"path": "/a", "vars": ["b"]}, "vars is not a dictionary"),
            ({"path": "/a", "validate": "nft -c"}, "exactly one %s"),
            ({"path": "/a", "validate": "nft '%s"}, "cannot be split"),
            ({"path": "/a", "secret": True, "mode": "0644"}, "opens it to everyone"),
        ],
    )
    def test_what_is_not_clearly_meant_is_refused(self, entry, message):
        with pytest.raises(ConfigTreeError, match=message):
            parse(entry)

    def test_a_path_listed_twice_is_refused(self):
        with pytest.raises(ConfigTreeError, match="/a: listed twice"):
            parse("/a", {"path": "/a/", "state": "absent"})

    def test_an_unknown_default_is_refused(self):
        with pytest.raises(ConfigTreeError, match="defaults: unknown key user"):
            parse("/a", user="root")


class TestPayload:
    def test_it_arrives_as_it_was_sent_in_one_word(self):
        wanted = [Wanted("/a", content="é\udcff\n", mode=0o600), Wanted("/b", state="absent")]
        payload = encode_payload(wanted)
        assert payload.isascii()
        assert len(payload.split()) == 1
        assert decode_payload(payload) == wanted

    @pytest.mark.parametrize("payload", ["", "é", "abcd", encode_payload([])[:-8]])
    def test_a_broken_one_is_refused(self, payload):
        with pytest.raises(ConfigTreeError, match="did not arrive whole"):
            decode_payload(payload)


class TestPlan:
    FILE = Found(kind="file", uid=0, gid=0, mode=0o644, content=b"a\n")

    def test_nothing_to_do_is_no_step(self):
        wanted = Wanted("/a", content="a\n", owner="root", mode=0o644)
        assert plan_one(wanted, self.FILE, user=ROOT) is None
        assert plan_one(Wanted("/a", state="absent")) is None
        directory = Found(kind="directory", mode=0o755)
        assert plan_one(Wanted("/a", state="directory"), directory) is None

    def test_other_content_is_written_and_attributes_nobody_set_stay(self):
        step = plan_one(Wanted("/a", content="b\n"), Found(kind="file", mode=0o600, content=b"a"))
        assert (step.writes, step.attributes, step.mode) == (True, (), 0o600)

    def test_other_attributes_alone_write_nothing(self):
        wanted = Wanted("/a", content="a\n", owner="x", group="y", mode=0o640)
        step = plan_one(wanted, self.FILE, user=Account("x", 7), group=Account("y", 8))
        assert (step.writes, step.attributes) == (False, ("owner", "group", "mode"))

    def test_without_force_only_the_attributes_of_a_file_are_kept_right(self):
        assert plan_one(Wanted("/a", content="b", force=False), self.FILE) is None
        step = plan_one(Wanted("/a", content="b", force=False, mode=0o600), self.FILE)
        assert (step.writes, step.attributes) == (False, ("mode",))
        assert plan_one(Wanted("/a", content="b", force=False)).writes
        assert plan_one(Wanted("/a", content="b", force=False), Found(kind="link")) is None

    def test_a_link_gives_way_to_the_file(self):
        step = plan_one(Wanted("/a", content="b"), Found(kind="link", link="c"))
        assert (step.writes, step.mode) == (True, 0o644)

    def test_a_link_to_a_directory_stands_for_it(self):
        found = Found(kind="link", leads_to_directory=True, mode=0o755)
        assert plan_one(Wanted("/a", state="directory"), found) is None
        step = plan_one(Wanted("/a", state="directory", mode=0o700), found)
        assert (step.writes, step.attributes) == (False, ("mode",))

    @pytest.mark.parametrize(
        ("state", "found", "message"),
        [
            ("file", Found(kind="directory"), "a directory is in the file's place"),
            ("file", Found(kind="link", leads_to_directory=True), "a link is in the file's place"),
            ("file", Found(kind="special file"), "a special file is in the file's place"),
            ("directory", Found(kind="file"), "a file is in the directory's place"),
            ("directory", Found(kind="link"), "a link is in the directory's place"),
            ("absent", Found(kind="directory"), "is a directory; only files and links"),
        ],
    )
    def test_what_stands_in_the_way_is_refused(self, state, found, message):
        with pytest.raises(ConfigTreeError, match=message):
            plan_one(Wanted("/a", state=state), found)

    def test_a_missing_parent_is_refused_unless_listed_before(self):
        lost = Wanted("/a/b", content="")
        made = Wanted("/a", state="directory")
        around = {
            "/a/b": Surroundings(Found(), parent_exists=False),
            "/a": Surroundings(Found(), parent_exists=True),
        }
        with pytest.raises(ConfigTreeError, match="directory /a does not exist; list it before"):
            plan([lost, made], around, tolerant=False)
        assert len(plan([made, lost], around, tolerant=False)) == 2

    def test_an_unknown_owner_is_refused_but_a_change_in_check_mode(self):
        wanted = Wanted("/a", content="a\n", owner="swift")
        nobody = Account("swift", None)
        with pytest.raises(ConfigTreeError, match="/a: user swift does not exist"):
            plan_one(wanted, self.FILE, user=nobody)
        step = plan_one(wanted, self.FILE, tolerant=True, user=nobody, parent_exists=False)
        assert step.attributes == ("owner",)
        with pytest.raises(ConfigTreeError, match="group swift does not exist"):
            plan_one(wanted, self.FILE, group=nobody)


class TestDiff:
    def test_content_and_attributes_are_told_apart(self):
        wanted = Wanted("/a", content="b\n", mode=0o600)
        step = plan_one(wanted, TestPlan.FILE)
        content, attributes = diff_of(step)
        assert (content["before"], content["after"]) == ("a\n", "b\n")
        assert content["before_header"] == content["after_header"] == "/a"
        assert (attributes["before"], attributes["after"]) == ("mode: 0644\n", "mode: 0600\n")

    def test_a_secret_is_not_shown(self):
        step = plan_one(Wanted("/a", content="new", secret=True, mode=0o600), TestPlan.FILE)
        text = str(diff_of(step))
        assert "new'" not in text
        assert "a\\n" not in text.replace("(secret content)\\n", "")
        assert "(secret content, changed)" in text

    def test_what_is_removed_is_not_shown_since_it_may_be_secret(self):
        found = Found(kind="file", mode=0o600, content=b"hunter2")
        (diff,) = diff_of(plan_one(Wanted("/a", state="absent"), found))
        assert (diff["before"], diff["after"]) == ("file, mode 0600\n", "")

    def test_binary_and_large_content_is_left_out(self):
        (diff,) = diff_of(plan_one(Wanted("/a", content="a\0")))
        assert (diff["src_binary"], "after" in diff) == (1, False)
        (diff,) = diff_of(plan_one(Wanted("/a", content="a" * 200_000)))
        assert diff["src_larger"]


class TestWriting:
    def write(self, path, content, **more):
        wanted = Wanted(str(path), content=content, **more)
        step = Step(wanted, look_at(str(path)), None, None, writes=True)
        Writer(lambda temporary, final: None).apply(step)

    def test_a_file_has_its_mode_whatever_the_umask(self, tmp_path):
        before = os.umask(0o077)
        try:
            self.write(tmp_path / "a", "x", mode=0o664)
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o664

    def test_the_new_file_is_closed_until_it_is_complete(self, tmp_path):
        seen = []

        def label(temporary, final):
            seen.append((stat.S_IMODE(os.stat(temporary).st_mode), os.path.dirname(temporary)))

        path = tmp_path / "a"
        step = Step(Wanted(str(path), content="x", mode=0o644), Found(), None, None, writes=True)
        Writer(label).apply(step)
        assert seen == [(0o600, str(tmp_path))]
        assert path.read_text() == "x"

    def test_a_file_is_replaced_not_rewritten(self, tmp_path):
        path = tmp_path / "a"
        path.write_text("old")
        path.chmod(0o640)
        with path.open() as reader:
            self.write(path, "new")
            assert reader.read() == "old"
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o640)
        assert os.listdir(tmp_path) == ["a"]

    def test_a_link_is_replaced_and_its_target_left_alone(self, tmp_path):
        (tmp_path / "target").write_text("old")
        (tmp_path / "a").symlink_to("target")
        self.write(tmp_path / "a", "new")
        assert not (tmp_path / "a").is_symlink()
        assert (tmp_path / "target").read_text() == "old"

    def test_a_failure_leaves_no_rest(self, tmp_path):
        def label(temporary, final):
            raise OSError(5, "broken")

        path = tmp_path / "a"
        step = Step(Wanted(str(path), content="x"), Found(), None, None, writes=True)
        with pytest.raises(ConfigTreeError, match="a: broken"):
            Writer(label).apply(step)
        assert os.listdir(tmp_path) == []

    def test_validation_sees_the_content_under_the_files_own_name(self, tmp_path):
        step = Step(Wanted("/etc/a.cfg", content="x"), Found(), None, None, writes=True)
        with staged(step, str(tmp_path)) as path:
            assert os.path.basename(path) == "a.cfg"
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            command = validation_command("check '--file=%s' -x", path)
        assert command == ["check", f"--file={path}", "-x"]
        assert os.listdir(tmp_path) == []

    def test_looking_tells_what_is_there(self, tmp_path):
        (tmp_path / "d").mkdir()
        (tmp_path / "l").symlink_to("d")
        (tmp_path / "dangling").symlink_to("nowhere")
        os.mkfifo(tmp_path / "fifo")
        kinds = {name: look_at(str(tmp_path / name)).kind for name in ("d", "l", "fifo", "no")}
        assert kinds == {"d": "directory", "l": "link", "fifo": "special file", "no": "absent"}
        assert look_at(str(tmp_path / "l")).leads_to_directory
        assert not look_at(str(tmp_path / "dangling")).leads_to_directory

    def test_accounts_are_found_by_name_and_number(self):
        assert find_user("root") == ROOT
        assert find_user("0") == Account("0", 0)
        assert find_user("no-such-user") == Account("no-such-user", None)
        assert find_user(None) is None
