"""Where the champion is put, so that those who serve it can find it.

For readers of an alias folder ``FOLDER/MODEL/``: ``champion`` is a link to the folder of the live version, and
``current.json`` is a link to the manifest in it. Resolve ``champion`` **once** (``readlink -f``, `os.path.realpath`)
and read every file from the folder that gives: then all of them belong to one version, however often the champion
changes meanwhile. Reading ``champion/a`` and then ``champion/b`` may cross a switch. To learn of a new champion,
resolve again; the folders of published versions never change.
"""
