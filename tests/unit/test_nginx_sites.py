"""What is read of nginx's configuration, as ``nginx -T`` prints it."""

from __future__ import annotations

from ansible_collections.wheelhouse.devpi.plugins.module_utils._nginx_sites import Site, sites

PRINTED = r"""# configuration file /etc/nginx/nginx.conf:
events { worker_connections 768; }
http {
    # server { server_name commented.example.com; }
    upstream other { server 127.0.0.1:8080; }
    log_format main '$remote_addr { "$request" } # no comment';
    include /etc/nginx/sites-enabled/*;
}
# configuration file /etc/nginx/sites-enabled/shop:
server {
    listen 443 ssl;
    listen [::]:443 ssl;
    server_name Shop.example.com "packages.example.com";
    location ~ "^/a{2}$" { return 200 "}"; }
}
server {
    server_name .example.org;
}
server { listen 127.0.0.1:8081; listen unix:/run/x; listen [2001:db8::1]; server_name inner; }
"""


def test_names_and_ports_of_each_site() -> None:
    shop = "/etc/nginx/sites-enabled/shop"
    assert list(sites(PRINTED)) == [
        Site(shop, frozenset({"shop.example.com", "packages.example.com"}), frozenset({443})),
        Site(shop, frozenset({"example.org"}), frozenset({80})),
        Site(shop, frozenset({"inner"}), frozenset({80})),
    ]


def test_nothing_is_read_of_nothing() -> None:
    assert list(sites("")) == []
