import { el, poll, put } from "./live.js";

poll("/ops/data/overview", 1000, (seen) => {
  put("topology", el("ul", {}, seen.nodes.map((node) => el("li", {}, `${node.node}: ${node.state}`))));
});
