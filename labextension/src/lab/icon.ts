import { LabIcon } from '@jupyterlab/ui-components';

const CARD =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="16"><g class="jp-icon3 jp-icon-selectable" fill="#616161">' +
  '<path fill-rule="evenodd" d="M2 5h2v14H2zM5 6h17v10H5zm5.5 2a3 3 0 1 0 0 6 3 3 0 0 0 0-6zm7 0a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM7 17h6v2H7z"/></g></svg>';

export const gpuIcon = new LabIcon({ name: 'gpuplug:card', svgstr: CARD });
