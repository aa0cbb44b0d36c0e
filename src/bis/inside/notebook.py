"""Execute a notebook from start to end with nbclient: `notebook.py NOTEBOOK OUTPUT [PYTHON]`.

Runs in the project's Python, or in that of bis with the project's as the kernel's PYTHON. The executed notebook is
written also when a cell fails, with the error in it; the exit status is then 1.
"""

import os
import sys


def main():
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    source, output = sys.argv[1:3]
    python = sys.argv[3] if len(sys.argv) > 3 else sys.executable
    notebook = nbformat.read(source, as_version=4)
    folder = os.path.dirname(source) or "."
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": folder}})
    client.km = client.create_kernel_manager()
    client.km.kernel_spec_manager = kernel_of(python)
    try:
        client.execute()
    except CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        nbformat.write(notebook, output)
        show(notebook)
    return 0


def kernel_of(python):
    """What the manager of kernels asks: the kernel is the project's interpreter, whatever kernel of that name is
    installed for the user, and also where none is."""
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    class Kernels(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name="Python 3", language="python")

    return Kernels()


def show(notebook):
    """The text that the cells printed, so that a log of the run has it."""
    for cell in notebook.cells:
        for item in cell.get("outputs", ()):
            if item.output_type == "stream":
                stream = sys.stdout if item.name == "stdout" else sys.stderr
                stream.write(item.text)


if __name__ == "__main__":
    sys.exit(main())
