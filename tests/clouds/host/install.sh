#!/usr/bin/env bash
# SPDX-FileCopyrightText: The infn.cloud contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes an OpenStack cloud of a fresh Debian 13 host: surroundings of tests, so one host carries all,
# and nothing here is how a site should be built. Real services of Debian's; only the hypervisor is
# Nova's own fake one, which makes servers in no time. Runs as root in the host; scripts/clouds
# keeps the result as an image, and cloud-start gives each cloud its address and region.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
services=(keystone placement glance nova neutron cinder)

# Nothing starts before it is configured.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update -qq
# Without nova-compute: it brings qemu and libvirt, and its program is in python3-nova.
apt-get install -y -qq --no-install-recommends mariadb-server rabbitmq-server memcached haproxy openssl \
    keystone placement-api glance-api nova-api nova-conductor nova-scheduler cinder-api cinder-scheduler \
    neutron-api neutron-rpc-server neutron-macvtap-agent python3-pymysql python3-openstacksdk
apt-get clean
rm /usr/sbin/policy-rc.d
systemctl --quiet disable nova-api-metadata.service

# Each image has passwords of its own, known to nobody outside it.
umask 077
password=$(openssl rand -hex 16)
echo "$password" >/root/service-password
umask 022

cat >/etc/mysql/mariadb.conf.d/90-cloud.cnf <<EOF
[mysqld]
max_connections = 500
innodb_flush_log_at_trx_commit = 0
innodb_flush_method = nosync
performance_schema = off
EOF
systemctl --quiet restart mariadb memcached
for database in "${services[@]}" nova_api nova_cell0; do
    user=${database%%_*}
    mariadb <<EOF
CREATE DATABASE $database CHARACTER SET utf8mb3;
CREATE OR REPLACE USER $user@localhost IDENTIFIED BY '$password';
EOF
done
for database in "${services[@]}" nova_api nova_cell0; do
    mariadb -e "GRANT ALL ON $database.* TO ${database%%_*}@localhost"
done

# The host gets another name later; the queue's files lie in a directory named after this one.
echo 'NODENAME=rabbit@localhost' >/etc/rabbitmq/rabbitmq-env.conf
systemctl --quiet restart rabbitmq-server
rabbitmqctl -q add_user openstack "$password"
rabbitmqctl -q set_permissions openstack '.*' '.*' '.*'

sql() { echo "connection = mysql+pymysql://$1:$password@localhost/$2?unix_socket=/run/mysqld/mysqld.sock&charset=utf8"; }
log_in() { # section and service: how the service logs in to Keystone
    cat <<EOF
[$1]
auth_type = password
auth_url = http://127.0.0.1:5000
username = $2
password = $password
project_name = service
user_domain_name = Default
project_domain_name = Default
EOF
}
shared() {
    cat <<EOF
$(log_in keystone_authtoken "$1")
www_authenticate_uri = http://127.0.0.1:5000
memcached_servers = 127.0.0.1:11211
[oslo_middleware]
enable_proxy_headers_parsing = true
[oslo_concurrency]
lock_path = /var/lib/$1/lock
EOF
}
config() { # writes what it reads, for the group of the service only
    install -m 640 -g "$1" /dev/stdin "$2"
}

config keystone /etc/keystone/keystone.conf <<EOF
[DEFAULT]
log_dir = /var/log/keystone
[database]
$(sql keystone keystone)
[auth]
methods = password,token,application_credential,openid,mapped
[openid]
remote_id_attribute = HTTP_OIDC_ISS
[token]
provider = fernet
[identity]
# Hashing made slow on purpose costs a test one second a login.
password_hash_rounds = 4
[oslo_middleware]
enable_proxy_headers_parsing = true
EOF

config placement /etc/placement/placement.conf <<EOF
[placement_database]
$(sql placement placement)
[api]
auth_strategy = keystone
$(shared placement)
EOF

config glance /etc/glance/glance-api.conf <<EOF
[DEFAULT]
log_dir = /var/log/glance
enabled_backends = disk:file
[database]
$(sql glance glance)
[glance_store]
default_backend = disk
[disk]
filesystem_store_datadir = /var/lib/glance/images
[os_glance_staging_store]
filesystem_store_datadir = /var/lib/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = /var/lib/glance/tasks
[paste_deploy]
flavor = keystone
$(shared glance)
EOF
install -d -o glance -g glance /var/lib/glance/staging /var/lib/glance/tasks

config nova /etc/nova/nova.conf <<EOF
[DEFAULT]
host = compute
my_ip = 127.0.0.1
state_path = /var/lib/nova
log_dir = /var/log/nova
compute_driver = fake.FakeDriver
transport_url = rabbit://openstack:$password@127.0.0.1
# The fake hypervisor forgets its servers when the host starts again.
sync_power_state_interval = -1
# Most servers are rows of the database, without a port from which Nova could learn their addresses.
heal_instance_info_cache_interval = -1
instance_usage_audit = false
[api_database]
$(sql nova nova_api)
[database]
$(sql nova nova)
[conductor]
workers = 1
[scheduler]
workers = 1
[filter_scheduler]
# Without ComputeCapabilitiesFilter: it takes an unscoped extra spec such as gpu_number, by which a
# federation describes flavors, for a demand on the hypervisor, and finds no host.
enabled_filters = ComputeFilter,ImagePropertiesFilter,ServerGroupAntiAffinityFilter
$(shared nova)
$(log_in service_user nova)
send_service_user_token = true
$(log_in placement placement)
endpoint_override = http://127.0.0.1:8778
$(log_in neutron neutron)
endpoint_override = http://127.0.0.1:9696
[glance]
endpoint_override = http://127.0.0.1:9292
[cinder]
endpoint_template = http://127.0.0.1:8776/v3/%(project_id)s
EOF
install -m 644 -o nova /proc/sys/kernel/random/uuid /var/lib/nova/compute_id
cat >/etc/systemd/system/nova-compute.service <<'EOF'
[Unit]
Description=Nova's compute service with its fake hypervisor
After=rabbitmq-server.service nova-conductor.service
[Service]
Type=notify
NotifyAccess=all
User=nova
ExecStart=/usr/bin/python3 /usr/local/sbin/fake-compute --config-file /etc/nova/nova.conf --log-file /var/log/nova/nova-compute.log
Restart=on-failure
RestartSec=2
[Install]
WantedBy=multi-user.target
EOF

config neutron /etc/neutron/neutron.conf <<EOF
[DEFAULT]
core_plugin = ml2
service_plugins = router
log_dir = /var/log/neutron
transport_url = rabbit://openstack:$password@127.0.0.1
api_workers = 1
rpc_workers = 1
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
$(sql neutron neutron)
[agent]
report_interval = 10
root_helper = sudo neutron-rootwrap /etc/neutron/rootwrap.conf
$(shared neutron)
EOF
config neutron /etc/neutron/plugins/ml2/ml2_conf.ini <<EOF
[ml2]
type_drivers = flat,vlan
tenant_network_types = vlan
# The smallest agent that can bind a port; nothing is ever plugged into it.
mechanism_drivers = macvtap
extension_drivers = port_security
[ml2_type_flat]
flat_networks = physnet1
[ml2_type_vlan]
network_vlan_ranges = physnet1:100:3000
EOF
config neutron /etc/neutron/plugins/ml2/macvtap_agent.ini <<EOF
[macvtap]
physical_interface_mappings = physnet1:eth0
[securitygroup]
firewall_driver = noop
EOF
sed -i 's/^host *=.*//; s/^\[DEFAULT\]/[DEFAULT]\nhost = compute/' /etc/neutron/neutron.conf

config cinder /etc/cinder/cinder.conf <<EOF
[DEFAULT]
log_dir = /var/log/cinder
transport_url = rabbit://openstack:$password@127.0.0.1
# There is no volume service: quotas and the API are what the tests ask for.
enabled_backends =
[database]
$(sql cinder cinder)
$(shared cinder)
EOF

# Debian's settings are for a server with many clients.
for ini in /etc/*/*-api-uwsgi.ini /etc/keystone/keystone-uwsgi.ini; do
    # uwsgi hangs up after each answer; who is not told so sends the next request into a dead connection.
    sed -i 's/^processes = .*/processes = 2\nadd-header = Connection: close/
        s/^apparmor-profile.*//; s/^plugins = python3,apparmor/plugins = python3/' "$ini"
done

as() { local user=$1; shift; runuser -u "$user" -- "$@" 2>>/root/install.log; }
for task in fernet_setup credential_setup; do
    as keystone keystone-manage $task --keystone-user keystone --keystone-group keystone
done
jobs=()
also() { as "$@" & jobs+=($!); }
also keystone keystone-manage db_sync
also placement placement-manage db sync
also glance glance-manage db_sync
also neutron neutron-db-manage --config-file /etc/neutron/neutron.conf \
    --config-file /etc/neutron/plugins/ml2/ml2_conf.ini upgrade head >/dev/null
also cinder cinder-manage db sync
as nova nova-manage api_db sync
as nova nova-manage cell_v2 map_cell0
as nova nova-manage cell_v2 create_cell --name cell1 >/dev/null
as nova nova-manage db sync
for job in "${jobs[@]}"; do wait "$job"; done

# Clients come by TLS, services talk to each other in the clear on this host.
cat >/etc/haproxy/haproxy.cfg <<'EOF'
defaults
    mode http
    timeout connect 5s
    timeout client 120s
    timeout server 120s
    option forwardfor
EOF
for port in 5000 8774 8776 8778 9292 9696; do
    cat <<EOF
listen port$port
    bind :$((10000 + port)) ssl crt /etc/haproxy/cloud.pem
    http-request set-header X-Forwarded-Proto https
    server local 127.0.0.1:$port
EOF
done >>/etc/haproxy/haproxy.cfg

units=(keystone placement-api glance-api neutron-api neutron-rpc-server neutron-macvtap-agent nova-api
    nova-conductor nova-scheduler nova-compute cinder-api cinder-scheduler)
for unit in "${units[@]}"; do
    mkdir -p "/etc/systemd/system/$unit.service.d"
    printf '[Unit]\nAfter=mariadb.service rabbitmq-server.service memcached.service\n' >"/etc/systemd/system/$unit.service.d/cloud.conf"
done
mkdir -p /etc/systemd/system/haproxy.service.d
printf '[Unit]\nConditionPathExists=/etc/haproxy/cloud.pem\n' >/etc/systemd/system/haproxy.service.d/cloud.conf
systemctl daemon-reload
systemctl --quiet enable "${units[@]}" haproxy.service
systemctl --quiet disable ssh.service
