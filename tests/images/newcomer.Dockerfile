# The machine of someone who has just installed Debian and cloned this project: Python, git and apt, and nothing that
# script/deploy is to bring itself (python3-venv, python3-apt, sudo, curl).
ARG BASE
FROM ${BASE}
RUN rm -f /usr/sbin/policy-rc.d \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates git python3 systemd systemd-sysv \
 && rm -rf /var/lib/apt/lists/*
