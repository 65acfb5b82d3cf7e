# Copyright: The wheelhouse.devpi authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of devpi-server: browsers run only devpi-web's own scripts, and none in what somebody uploaded.

All pages have the same origin as the login page. Without this plugin, scripts in uploaded documentation and in links of
a package's metadata could act in the name of anyone who opens them.
"""

import base64
import hashlib
import re
from pathlib import Path

from pluggy import HookimplMarker

hookimpl = HookimplMarker("devpiserver")

# What was uploaded. It keeps its origin, so that devpi-web can fit documentation into its page, but runs no script.
UPLOADED = re.compile(r"/[^/]+/[^/]+/(\+[ef]/|[^/]+/[^/]+/\+doc/)")
SANDBOX = (
    "sandbox allow-same-origin allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation; "
    "script-src 'none'; object-src 'none'; frame-ancestors 'self'"
)
INLINE = re.compile(r"<script(?: type=\"text/javascript\")?>(.+?)</script>", re.DOTALL)


@hookimpl
def devpiserver_pyramid_configure(config, pyramid_config):
    """Register the tween, and learn which scripts are devpi-web's own.

    :param config: of the server.
    :param pyramid_config: of its web application.
    """
    import devpi_web  # noqa: PLC0415 - a server may be without it

    templates = [Path(devpi_web.__file__).parent]
    theme = pyramid_config.registry.get("theme_path") or getattr(config.args, "theme", None)
    if theme:
        templates.append(Path(str(theme)))
    sources = [path.read_text(encoding="utf-8") for place in templates for path in sorted(place.rglob("*.pt"))]
    inline = {script for source in sources for script in INLINE.findall(source) if "${" not in script}
    digests = sorted(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in inline)
    pyramid_config.registry["page_policy_scripts"] = "".join(f" 'sha256-{digest}'" for digest in digests)
    pyramid_config.registry["page_policy_version"] = devpi_web.__version__
    pyramid_config.add_tween(
        "devpi_page_policy.tween_page_policy",
        under="devpi_server.views.tween_request_logging",
        over="devpi_server.views.tween_keyfs_transaction",
    )


def tween_page_policy(handler, registry):
    """Return the answer of `handler` with the policy that its page needs."""
    version, scripts = registry["page_policy_version"], registry["page_policy_scripts"]

    def answer(request):
        response = handler(request)
        if UPLOADED.match(request.path_info):
            response.headers["Content-Security-Policy"] = SANDBOX
            response.headers["X-Content-Type-Options"] = "nosniff"
        elif (response.content_type or "").startswith(("text/html", "application/xhtml", "image/svg", "text/xml")):
            # Other names of the same server lead to files by its first one.
            url = request.application_url
            own = " ".join(f"{url}/+{kind}-{version}/" for kind in ("static", "theme-static"))
            response.headers["Content-Security-Policy"] = (
                f"default-src 'self' {url}; script-src {own}{scripts}; style-src 'self' {url} 'unsafe-inline'; "
                f"img-src * data:; object-src 'none'; base-uri 'none'; form-action 'self' {url}; frame-ancestors 'self'"
            )
        return response

    return answer
