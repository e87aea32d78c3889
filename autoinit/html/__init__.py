"""Reports as one HTML file: the module tree with what each parameter got, and its values beside what was asked for."""

from .page import write_html as write_html
