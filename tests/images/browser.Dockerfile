# A Debian host as in systemd.Dockerfile, at which somebody sits in front of a browser: Chromium, what drives it, fonts,
# certutil for the browser's trust, and the account visitor.
ARG BASE
FROM ${BASE}
RUN rm -f /usr/sbin/policy-rc.d \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    ca-certificates chromium chromium-driver chromium-sandbox dbus fonts-liberation iproute2 libnss3-tools procps python3 \
    sudo systemd systemd-sysv \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --create-home --shell /bin/bash visitor
