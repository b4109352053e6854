"What people look at: the dashboard and its server, and the widgets for JupyterLab."
