# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a federation.yml may say, and what is said about one that may not."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
import yaml
from ansible_collections.infn.cloud.plugins.module_utils._federation_model import (
    FederationError,
    read_federation,
)

TEXT = """
plugin: infn.cloud.federation
federation: {name: demo, domain: demo.test}
sites:
  - name: cnaf
    region: 1
    coupling: backbone
    location: {city: Bologna, latitude: 44.5, longitude: 11.34}
    provider: static
    network: 10.201.1.0/24
    hosts:
      - {name: cnaf-gw1, address: 10.201.1.11, services: [gateway, keystone]}
      - {name: cnaf-st1, address: 10.201.1.21, services: [swift_storage], zone: 2,
         vars: {ansible_user: "{{ somebody }}"}}
  - name: rome-2
    region_name: Rome2
    coupling: federated
    provider: static
"""


def example() -> Any:
    return yaml.safe_load(TEXT)


def problems(data: object) -> tuple[str, ...]:
    with pytest.raises(FederationError) as caught:
        read_federation(data, "federation.yml", options={"plugin"})
    return caught.value.problems


def one_problem(data: object) -> str:
    (problem,) = problems(data)
    return problem


def test_reads_what_the_file_says() -> None:
    federation = read_federation(example(), "federation.yml", options={"plugin"})
    cnaf, rome = federation.sites
    assert (cnaf.group, rome.group) == ("site_cnaf", "site_rome_2")
    assert (cnaf.region_name, rome.region_name) == ("cnaf", "Rome2")
    assert cnaf.hosts[0].zone == 1
    assert cnaf.hosts[1].address == ipaddress.ip_address("10.201.1.21")
    assert cnaf.hosts[1].vars == {"ansible_user": "{{ somebody }}"}
    assert rome.hosts == ()


def test_variables_are_plain_and_complete() -> None:
    federation = read_federation(example(), "federation.yml", options={"plugin"})
    assert federation.variables()["federation_sites"] == {
        "cnaf": {
            "region": 1,
            "region_name": "cnaf",
            "coupling": "backbone",
            "provider": "static",
            "location": {"city": "Bologna", "latitude": 44.5, "longitude": 11.34},
            "network": "10.201.1.0/24",
            "endpoint": "cnaf.demo.test",
            "hosts": {
                "cnaf-gw1": {
                    "address": "10.201.1.11",
                    "services": ["gateway", "keystone"],
                    "zone": 1,
                },
                "cnaf-st1": {"address": "10.201.1.21", "services": ["swift_storage"], "zone": 2},
            },
        },
        "rome-2": {
            "region": None,
            "region_name": "Rome2",
            "coupling": "federated",
            "provider": "static",
            "location": {"city": None, "latitude": None, "longitude": None},
            "network": None,
            "endpoint": "rome-2.demo.test",
            "hosts": {},
        },
    }
    assert federation.sites[1].variables() == {
        "site_name": "rome-2",
        "site_region": None,
        "site_region_name": "Rome2",
        "site_coupling": "federated",
        "site_provider": "static",
        "site_location": {"city": None, "latitude": None, "longitude": None},
        "site_network": None,
    }


@pytest.mark.parametrize("endpoint", ["10.201.1.11", "cloud.cnaf.test", "cloud"])
def test_clients_may_be_told_another_endpoint(endpoint: str) -> None:
    data = example()
    data["sites"][0]["endpoint"] = endpoint
    sites = read_federation(data, "federation.yml", options={"plugin"}).variables()[
        "federation_sites"
    ]
    assert sites["cnaf"]["endpoint"] == endpoint
    assert sites["rome-2"]["endpoint"] == "rome-2.demo.test"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": None}, "site number 1, name: missing"),
        ({"name": "Cnaf"}, "site Cnaf, name: 'Cnaf' is not valid"),
        ({"name": "a_b"}, "lower-case letters, digits and hyphens"),
        ({"name": "-a"}, "not valid"),
        ({"name": "a" * 64}, "not valid"),
        ({"name": "cnaf\n"}, "not valid"),
        ({"name": False}, "found the YAML boolean false (quote it"),
        ({"name": "rome-2"}, "site rome-2, name: rome-2 is taken by an earlier one"),
        ({"region": None}, "site cnaf, region: missing; give a whole number"),
        ({"region": "1"}, "expected a whole number from 1 on, found the text '1'"),
        ({"region": True}, "expected a whole number"),
        ({"region": 0}, "expected a whole number"),
        ({"region_name": "ROME2"}, "site rome-2, region_name: rome2 is taken by site cnaf"),
        ({"region_name": "{{ x }}"}, "region_name: '{{ x }}' is not valid"),
        ({"coupling": "tight"}, "expected one of backbone, federated; found the text 'tight'"),
        ({"coupling": None}, "coupling: missing; give one of backbone, federated"),
        ({"coupling": ["backbone"]}, "expected one of backbone, federated; found a list"),
        ({"provider": "vmware"}, "provider: expected one of static, openstack, plugin, containers"),
        ({"on_site_failure": "hope"}, "on_site_failure: expected one of stale, skip, fail"),
        ({"network": "10.201.1.0"}, "expected a network such as 192.0.2.0/24"),
        ({"network": "10.201.1.7/24"}, "the network is 10.201.1.0/24"),
        ({"network": 10}, "expected a network such as"),
        ({"endpoint": "https://cnaf.test"}, "endpoint: 'https://cnaf.test' is not valid"),
        ({"endpoint": "cnaf.test:5000"}, "use a DNS name in lower case"),
        ({"endpoint": "{{ x }}"}, "endpoint: '{{ x }}' is not valid"),
        ({"endpoint": 10}, "endpoint: expected text, found the number 10"),
        ({"hosts": []}, "hosts: a backbone site has at least one host"),
        ({"hosts": {"a": 1}}, "hosts: expected a list, found a mapping"),
        ({"hosts": ["cnaf-gw1"]}, "site cnaf, host number 1: expected a mapping with address"),
        ({"regoin": 1}, "site cnaf, regoin: unknown key; did you mean region?"),
        ({"location": "Bologna"}, "site cnaf, location: expected a mapping"),
        ({"location": {"city": "{% x %}"}}, "location, city: '{% x %}' is not valid"),
        ({"location": {"city": "#jinja2: a:'b'"}}, "templates are for a host's vars only"),
        ({"location": {"latitude": 44.5}}, "latitude and longitude go together"),
        ({"location": {"latitude": 91, "longitude": 0}}, "degrees from -90 to 90, found the num"),
    ],
)
def test_refuses_in_a_site(change: dict[str, Any], says: str) -> None:
    data = example()
    data["sites"][0].update(change)
    assert says in one_problem(data)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "cnaf.gw1"}, "site cnaf, host cnaf.gw1, name: 'cnaf.gw1' is not valid"),
        ({"name": "cnaf-st1"}, "host cnaf-st1, name: cnaf-st1 is taken by an earlier one"),
        ({"name": "gateway"}, "a group has that name"),
        ({"name": "localhost"}, "a group has that name"),
        ({"address": None}, "host cnaf-gw1, address: missing"),
        ({"address": "cnaf-gw1.test"}, "expected the IP address of a host"),
        ({"address": 16909060}, "expected the IP address of a host, found the number"),
        ({"address": "0.0.0.0"}, "expected the IP address of a host"),
        ({"address": "10.201.2.11"}, "10.201.2.11 is outside the site's network 10.201.1.0/24"),
        ({"address": "2001:db8::1"}, "is outside the site's network"),
        ({"address": "10.201.1.21"}, "site cnaf, host cnaf-st1, address: 10.201.1.21 is taken by"),
        ({"services": "gateway"}, "services: expected a list, found the text 'gateway'"),
        ({"services": ["swift-proxy"]}, "services: 'swift-proxy' is not valid"),
        ({"services": ["site_cnaf"]}, "site_cnaf is a group of the inventory"),
        ({"services": ["all"]}, "all is a group of the inventory"),
        ({"services": ["a", "a"]}, "a is listed twice"),
        ({"zone": "a"}, "zone: expected a whole number"),
        ({"vars": ["a"]}, "vars: expected variable names with values, found a list"),
        ({"vars": {"a-b": 1}}, "a-b is no variable name"),
        ({"vars": {"class": 1}}, "class is no variable name"),
        ({"vars": {1: 1}}, "1 is no variable name"),
        ({"vars": {"ansible_host": "x"}}, "ansible_host is reserved"),
        ({"vars": {"site_zone": 2}}, "site_zone is reserved"),
        ({"vars": {"federation_sites": 2}}, "federation_sites is reserved"),
        ({"vars": {"environment": 2}}, "environment is reserved"),
        ({"var": {}}, "host cnaf-gw1, var: unknown key; did you mean vars?"),
    ],
)
def test_refuses_in_a_host(change: dict[str, Any], says: str) -> None:
    data = example()
    data["sites"][0]["hosts"][0].update(change)
    assert says in one_problem(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "the file: expected a mapping with plugin, federation, sites; found nothing"),
        (["a"], "the file: expected a mapping with plugin, federation, sites; found a list"),
        ({"federation": {"name": "a", "domain": "a.b"}}, "sites: missing; give a list"),
        ({"federation": {"name": "a", "domain": "a.b"}, "sites": []}, "sites: the list is empty"),
        ({"federation": {"name": "a", "domain": "a.b"}, "sites": "x"}, "sites: expected a list"),
    ],
)
def test_refuses_as_a_whole(data: object, says: str) -> None:
    assert says in "\n".join(problems(data))


@pytest.mark.parametrize("domain", ["Demo.test", "demo.test.", "demo..test", "a_b.test", "x" * 64])
def test_refuses_a_domain(domain: str) -> None:
    data = example()
    data["federation"]["domain"] = domain
    assert "federation, domain:" in one_problem(data)


def test_a_region_number_belongs_to_one_site_of_whatever_kind() -> None:
    data = example()
    data["sites"][1]["region"] = 1
    says = "site rome-2, region: 1 is taken by site cnaf; give each its own"
    assert one_problem(data) == says


def test_the_same_address_written_otherwise_is_the_same_address() -> None:
    data = example()
    data["sites"][1]["hosts"] = [
        {"name": "a", "address": "2001:db8::1"},
        {"name": "b", "address": "2001:0DB8:0::0001"},
    ]
    assert "host b, address: 2001:db8::1 is taken by site rome-2, host a" in one_problem(data)


def test_says_everything_at_once_and_names_the_file() -> None:
    data = example()
    data["sites"][0]["region"] = "one"
    data["sites"][0]["hosts"][0]["address"] = "10.9.9.9"
    data["sites"][1]["coupling"] = "loose"
    data["sitse"] = []
    with pytest.raises(FederationError) as caught:
        read_federation(data, "/etc/federation.yml", options={"plugin"})
    assert str(caught.value).splitlines()[0] == "/etc/federation.yml: 4 problems"
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "  - sitse",
        "  - site cnaf, region",
        "  - site cnaf, host cnaf-gw1, address",
        "  - site rome-2, coupling",
    ]
