/** The toolbar button: the magic goes to, or comes from, the first line of the active cell. */
import { JupyterFrontEnd } from '@jupyterlab/application';
import { isRemote, loads, toggled } from './magic';

/** The part of JupyterLab's notebook that the button needs; its types would bring the whole package along. */
interface INotebookLike {
  context?: { path: string };
  content?: {
    activeCell?: { model: { type: string; sharedModel: { getSource(): string; setSource(text: string): void } } } | null;
    model?: {
      sharedModel: {
        cells: readonly { cell_type: string; getSource(): string }[];
        insertCell(index: number, cell: { cell_type: string; source: string }): unknown;
      };
    } | null;
  };
}

function current(app: JupyterFrontEnd): INotebookLike {
  return (app.shell.currentWidget ?? {}) as INotebookLike;
}

/** The path of the notebook in front; `null`: something else is. */
export function notebookPath(app: JupyterFrontEnd): string | null {
  const path = current(app).context?.path;
  return path?.endsWith('.ipynb') ? path : null;
}

/** Tell whether a code cell is active. */
export function hasCell(app: JupyterFrontEnd): boolean {
  return current(app).content?.activeCell?.model.type === 'code';
}

/** Put the magic on the active cell, or take it off; a notebook that never loads the extension gets a cell that does. */
export function toggle(app: JupyterFrontEnd, options: string): void {
  const content = current(app).content;
  const cell = content?.activeCell?.model.sharedModel;
  const notebook = content?.model?.sharedModel;
  if (!cell || !notebook || !hasCell(app)) {
    return;
  }
  const source = toggled(cell.getSource(), options);
  cell.setSource(source);
  if (isRemote(source) && !loads(notebook.cells.map(each => each.getSource()))) {
    notebook.insertCell(0, { cell_type: 'code', source: '%load_ext gpuplug' });
  }
}
