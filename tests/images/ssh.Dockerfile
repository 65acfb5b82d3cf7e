# A server that is reached over ssh: the user admin may become root with a password; acl is not installed.
ARG BASE
FROM ${BASE}
RUN rm -f /usr/sbin/policy-rc.d \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates dbus iproute2 openssh-server procps python3 sudo systemd systemd-sysv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --shell /bin/bash --groups sudo admin
