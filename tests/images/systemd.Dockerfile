# A Debian host as people run it: systemd as process 1, Python for Ansible, sudo; no acl, as on a minimal installation.
ARG BASE
FROM ${BASE}
RUN rm -f /usr/sbin/policy-rc.d \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates dbus iproute2 procps python3 sudo systemd systemd-sysv \
 && rm -rf /var/lib/apt/lists/*
