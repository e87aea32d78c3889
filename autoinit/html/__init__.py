"""Reports as one HTML file: the module tree with what each parameter got, and its values beside what was asked for."""

from ..tables import set_page_writer
from .page import write_html as write_html

set_page_writer(write_html)
