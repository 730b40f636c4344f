"""A first configuration: a look at the data (`looking`), what it suggests (`proposals`), the file (`template`).

A setting that `ct-daemon init` shall ask for needs a field of `Answers`, a line in `template`, an option in
`cli/prepare.py` and a question in `cli/questions.py`.
"""

from ct_daemon.init_config.looking import file_to_look_at, look
from ct_daemon.init_config.proposals import Look, Proposal, row_id_of, slug_of, targets_of, task_of, time_of
from ct_daemon.init_config.template import Answers, template

__all__ = [
    "Answers",
    "Look",
    "Proposal",
    "file_to_look_at",
    "look",
    "row_id_of",
    "slug_of",
    "targets_of",
    "task_of",
    "template",
    "time_of",
]
