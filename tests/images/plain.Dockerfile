# A container as registries ship them: no systemd, no sudo, and a policy-rc.d that keeps packages from starting services.
ARG BASE
FROM ${BASE}
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates iproute2 procps python3 \
 && rm -rf /var/lib/apt/lists/* \
 && printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d \
 && chmod 0755 /usr/sbin/policy-rc.d
