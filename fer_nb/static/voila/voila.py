# How Voila serves the dashboard: what `fer-nb app` starts with, and the place to look things up.
#
# `fer-nb app --config FILE` reads FILE after this one, so FILE needs only the lines that are to differ.
# Host, port and model are options of `fer-nb app`. A voila.py or .json of your own in ~/.jupyter or in the
# current folder is not read.
c = get_config()  # noqa: F821

# -- What a visitor may see -------------------------------------------------------------------------------------------
c.VoilaConfiguration.template = 'fer_nb'              # without links to other hosts
c.VoilaConfiguration.allow_template_override = 'NO'   # no ?template=... by visitors
c.VoilaConfiguration.allow_theme_override = 'NO'
c.VoilaConfiguration.strip_sources = True             # the notebook's code stays on the server
c.VoilaConfiguration.show_tracebacks = False          # errors go to the server's log, a sentence to the page
c.VoilaConfiguration.file_allowlist = []              # no file beside the notebook is served
c.VoilaConfiguration.extension_allowlist = [          # of JupyterLab's extensions, those that widgets need
    '@jupyter-widgets/jupyterlab-manager', '@voila-dashboards/widgets-manager8', 'anywidget']
c.PageServer.log_level = 'ERROR'

# -- Kernels: each visitor has one, a Python process of about 100 MB ---------------------------------------------------
# A page that is closed ends its kernel at once, if the browser gets round to saying so; the rest is culled: a kernel
# whose page is not connected and that did nothing for cull_idle_timeout seconds. A page that is open stays connected
# and is never culled, however long its visitor reads.
c.MappingKernelManager.cull_idle_timeout = 600
c.MappingKernelManager.cull_interval = 60
c.MappingKernelManager.cull_connected = False
c.PageServer.max_visitors = 16                        # the next one is asked to come back later; 0: no limit
# One kernel waits, with everything imported, for the next visitor, and another is started in its place.
c.VoilaConfiguration.preheat_kernel = True
c.VoilaConfiguration.default_pool_size = 1
# A kernel that dies is not started anew: the page would lose its widgets without a word. It offers to reload instead.
c.KernelRestarter.restart_limit = 0
c.VoilaConfiguration.multi_kernel_manager_class = 'fer_nb.apps.server.Kernels'

# -- The connection between page and kernel ----------------------------------------------------------------------------
# Answers leave at once (TCP_NODELAY): 47 camera frames a second instead of 15.
c.Voila.kernel_websocket_connection_class = 'fer_nb.apps.server.PromptConnection'
c.PromptConnection.limit_rate = False                 # else pictures of more than 1 MB/s to the page are dropped
c.Voila.tornado_settings = {
    'websocket_max_message_size': 32 * 2**20,         # bytes; a larger message closes the connection
    # ms; keeps proxies from closing a quiet connection. A timeout of one interval would close each page at its first ping
    'ws_ping_interval': 30000, 'ws_ping_timeout': 90000,
    # 'compress_response': True,                      # where no proxy in front compresses
}
