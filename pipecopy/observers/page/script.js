"use strict";
// Draws the two charts with Bokeh from the object in #data; colours come from the style sheet.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const objects = ({ names, rows }) =>
    rows.map((row) => Object.fromEntries(names.map((each, index) => [each, row[index]])));
  for (const name of ["calls", "incidents", "pauses"]) data[name] = objects(data[name]);
  if (data.shards) data.shards.bars = objects(data.shards.bars);
  const { ColumnDataSource } = Bokeh;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // Bokeh writes times in UTC: so local time is given to it as if it were UTC
  const at = (seconds) => (data.began + data.utc_offset + seconds) * 1000;
  const number = (value, digits = 0) =>
    value.toLocaleString("en-US", { maximumFractionDigits: digits });
  const took = (seconds) => {
    if (seconds < 1) return `${number(seconds * 1000, seconds < 0.01 ? 1 : 0)} ms`;
    if (seconds < 120) return `${number(seconds, 1)} s`;
    return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  };
  const clock = (seconds) => new Date(at(seconds)).toISOString().slice(11, 23);
  const ids = (first, end) => {
    if (first === null) return "";
    return end === null ? `, from id ${first} on` : `, ids ${first} to ${end - 1}`;
  };
  const colour = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const SIDES = { source: 1, target: 0 };
  const laneOf = (one) => (data.shards ? one.lane : SIDES[one.side]);
  let shown = null;

  const narrow = document.documentElement.clientWidth < 600;
  // of both charts: so the same time is at the same place
  const left = data.shards ? (narrow ? 74 : 130) : 68;

  function chart(id, height, x_range, y_range, y_axis) {
    const touch = matchMedia("(pointer: coarse)").matches;
    const tools = [new Bokeh.BoxZoomTool({ dimensions: "width" }), new Bokeh.PanTool({ dimensions: "width" }),
      new Bokeh.WheelZoomTool({ dimensions: "width" }), new Bokeh.ResetTool()];
    const plot = new Bokeh.Plot({
      height, sizing_mode: "stretch_width", x_range, y_range, background_fill_color: null,
      border_fill_color: null, outline_line_color: null, min_border_left: left, min_border_right: 24,
      toolbar: new Bokeh.Toolbar({ tools, logo: null }), toolbar_location: "above",
    });
    plot.toolbar.active_drag = touch ? null : tools[0]; // on a touch screen the page scrolls
    const plain = {
      axis_line_color: colour("line"), major_tick_line_color: colour("line"), minor_tick_line_color: null,
      major_label_text_color: colour("soft"), axis_label_text_color: colour("soft"),
      axis_label_text_font_style: "normal", major_label_text_font_size: "12px", axis_label_text_font_size: "12px",
    };
    const x = new Bokeh.DatetimeAxis({
      ...plain, axis_label: `time (${data.zone})`,
      formatter: new Bokeh.DatetimeTickFormatter({
        milliseconds: narrow ? "%M:%S.%3N" : "%H:%M:%S.%3N", seconds: "%H:%M:%S", minsec: "%H:%M:%S", minutes: "%H:%M",
        hourmin: "%H:%M", hours: "%H:%M", days: "%b %d",
      }),
    });
    x.ticker.desired_num_ticks = narrow ? 3 : 7;
    const y = new Bokeh.LinearAxis({ ...plain, ...y_axis });
    plot.add_layout(x, "below");
    plot.add_layout(y, "left");
    plot.add_layout(new Bokeh.Grid({ dimension: 0, ticker: x.ticker, grid_line_color: colour("line") }));
    return [plot, y];
  }

  function quads(plot, source, how) {
    const field = (name) => (name in source.data ? { field: name } : how[name]);
    const edges = Object.fromEntries(["left", "right", "top", "bottom"].map((name) => [name, field(name)]));
    return plot.add_glyph(new Bokeh.Quad({ ...edges, ...how.style }), source);
  }

  function hover(plot, renderers, tooltips, more = {}) {
    const tool = new Bokeh.HoverTool({ renderers, tooltips, ...more });
    plot.add_tools(tool);
  }

  function throughput(x_range) {
    const { seconds, rows, bytes } = data.throughput;
    const slots = rows.map((_, index) => index);
    const most = Math.max(...rows) / seconds;
    const [plot, y] = chart("throughput", 220, x_range, new Bokeh.Range1d({ start: 0, end: most * 1.08 || 1 }), {
      axis_label: data.unit,
      formatter: new Bokeh.NumeralTickFormatter({ format: most >= 1e4 ? "0.[0]a" : "0,0.[0]" }),
    });
    plot.add_layout(new Bokeh.Grid({ dimension: 1, ticker: y.ticker, grid_line_color: colour("line") }));
    const source = new ColumnDataSource({ data: {
      left: slots.map((slot) => at(slot * seconds)),
      right: slots.map((slot) => at(Math.min((slot + 1) * seconds, Math.max(data.seconds, slot * seconds)))),
      top: rows.map((each) => each / seconds),
      when: slots.map((slot) => `${clock(slot * seconds)}, ${took(seconds)}`),
      speed: rows.map((each) => `${number(each / seconds)} rows/s`),
      size: bytes.map((each) => (each ? `${number(each / seconds / 1e6, 1)} MB/s` : "–")),
    } });
    const area = quads(plot, source, { bottom: { value: 0 }, style: {
      fill_color: colour("area"), fill_alpha: 0.55, line_color: colour("area"), line_alpha: 0.9,
    } });
    hover(plot, [area], [["from", "@when"], ["rows", "@speed"], ["data", "@size"]]);
    return plot;
  }

  function lanes(x_range) {
    return data.shards ? shards(x_range) : sides(x_range);
  }

  function sides(x_range) {
    const [plot] = chart("lanes", 230, x_range, new Bokeh.Range1d({ start: -0.6, end: 1.6 }), {
      ticker: new Bokeh.FixedTicker({ ticks: [0, 1] }), major_tick_line_color: null,
      major_label_overrides: new Map([[0, "writer"], [1, "reader"]]),
    });
    if (data.pauses.length) pauses(plot, -0.6, 1.6);
    calls(plot);
    happened(plot);
    return plot;
  }

  // attempts of shards: the lanes of each host beside each other
  function shards(x_range) {
    const { hosts, bars } = data.shards;
    const lanes = hosts.reduce((sum, host) => sum + host.lanes, 0);
    const height = Math.min(900, Math.max(150, 80 + 22 * lanes));
    const middle = (host) => host.lane + (host.lanes - 1) / 2;
    const named = hosts.filter((_, index) => index % Math.ceil(hosts.length / 30) === 0);
    const short = (name) => {
      const most = narrow ? 9 : 18;
      return name.length > most ? `${name.slice(0, most - 1)}…` : name;
    };
    const [plot] = chart("lanes", height, x_range, new Bokeh.Range1d({ start: lanes - 0.4, end: -0.6 }), {
      ticker: new Bokeh.FixedTicker({ ticks: named.map(middle) }), major_tick_line_color: null,
      major_label_overrides: new Map(named.map((host) => [middle(host), short(host.host ?? "?")])),
    });
    for (const host of hosts.slice(1)) {
      plot.add_layout(new Bokeh.Span({ location: host.lane - 0.5, dimension: "width", line_color: colour("line") }));
    }
    if (data.pauses.length) pauses(plot, -0.6, lanes - 0.4);
    const nameOf = (one) => hosts.findLast((host) => host.lane <= one.lane)?.host ?? "not known";
    const drawn = quads(plot, new ColumnDataSource({ data: {
      left: bars.map((one) => at(one.begin)), right: bars.map((one) => at(one.end)),
      top: bars.map((one) => one.lane + 0.38), bottom: bars.map((one) => one.lane - 0.38),
      fill: bars.map((one) => colour(one.outcome.replace(" ", "-"))),
      what: bars.map((one) => (one.count > 1 ? `${number(one.count)}, from shard ${one.shard} on`
        : `shard ${one.shard}, attempt ${one.attempt}`)),
      host: bars.map(nameOf), outcome: bars.map((one) => one.outcome),
      when: bars.map((one) => clock(one.begin)), long: bars.map((one) => took(one.busy)),
    } }), { style: {
      fill_color: { field: "fill" }, fill_alpha: 0.75, line_color: colour("paper"), line_width: 1,
    } });
    hover(plot, [drawn], [["", "@what"], ["host", "@host"], ["end", "@outcome"], ["at", "@when"], ["took", "@long"]]);
    happened(plot);
    return plot;
  }

  // attempts of calls that failed, and requests to stop
  function happened(plot) {
    const failed = data.incidents.map((one, index) => ({ ...one, index }))
      .filter((one) => one.side !== null && laneOf(one) !== null);
    if (failed.length) failures(plot, failed);
    for (const one of data.incidents.filter((each) => each.side === null)) { // a request to stop
      plot.add_layout(new Bokeh.Span({
        location: at(one.end), dimension: "height", line_color: colour("ink"), line_dash: [4, 4],
      }));
    }
  }

  function pauses(plot, low, high) {
    const source = new ColumnDataSource({ data: {
      left: data.pauses.map((one) => at(one.begin)), right: data.pauses.map((one) => at(one.end)),
      text: data.pauses.map((one) => `pause: ${one.reason}, ${took(one.end - one.begin)}`),
    } });
    const drawn = quads(plot, source, { top: { value: high }, bottom: { value: low }, style: {
      fill_color: colour("pause"), fill_alpha: 0.25, line_color: colour("pause"), line_alpha: 0.6,
    } });
    hover(plot, [drawn], [["", "@text"]]);
  }

  function calls(plot) {
    const drawn = quads(plot, new ColumnDataSource({ data: {
      left: data.calls.map((one) => at(one.begin)), right: data.calls.map((one) => at(one.end)),
      top: data.calls.map((one) => laneOf(one) + 0.32), bottom: data.calls.map((one) => laneOf(one) - 0.32),
      fill: data.calls.map((one) => colour(one.failed ? "failed" : data.kinds[one.call] ?? "other")),
      alpha: data.calls.map((one) => 0.35 + 0.65 * Math.min(1, one.busy / Math.max(one.end - one.begin, 1e-9))),
      what: data.calls.map((one) => `${one.count === 1 ? one.call : `${number(one.count)} × ${one.call}`}`
        + `${one.failed ? " (failed)" : ""}${ids(one.first_id, one.end_id)}`),
      when: data.calls.map((one) => clock(one.begin)),
      long: data.calls.map((one) => (one.count === 1 ? took(one.busy)
        : `${took(one.least)} to ${took(one.most)}, median ${took(one.median)}`)),
    } }), { style: {
      fill_color: { field: "fill" }, fill_alpha: { field: "alpha" },
      line_color: { field: "fill" }, line_alpha: { field: "alpha" },
    } });
    hover(plot, [drawn], [["call", "@what"], ["at", "@when"], ["took", "@long"]]);
  }

  // attempts that failed, and the waits for their retries
  function failures(plot, failed) {
    const again = failed.filter((one) => one.retry !== null);
    if (again.length) {
      quads(plot, new ColumnDataSource({ data: {
        left: again.map((one) => at(one.end)), right: again.map((one) => at(one.end + one.retry)),
        top: again.map((one) => laneOf(one) + 0.1), bottom: again.map((one) => laneOf(one) - 0.1),
      } }), { style: { fill_color: colour("retry"), line_color: colour("retry") } });
    }
    const source = new ColumnDataSource({ data: {
      left: failed.map((one) => at(one.begin)), right: failed.map((one) => at(one.end)),
      top: failed.map((one) => laneOf(one) + 0.32), bottom: failed.map((one) => laneOf(one) - 0.32),
      middle: failed.map((one) => laneOf(one) + 0.43),
      mark: failed.map((one) => (one.what === "killed" ? "x" : "dash")),
      size: failed.map((one) => (one.what === "killed" ? 11 : 7)),
      what: failed.map((one) => `${one.call}, attempt ${one.attempt}`),
      end: failed.map((one) => `${one.what} after ${took(one.end - one.begin)}`),
      when: failed.map((one) => clock(one.end)),
      then: failed.map((one) => (one.retry === null ? "–" : `retried after ${took(one.retry)}`)),
    } });
    const bars = quads(plot, source, { style: { fill_color: colour("failed"), line_color: colour("failed") } });
    const marks = plot.add_glyph(new Bokeh.Scatter({
      x: { field: "right" }, y: { field: "middle" }, marker: { field: "mark" }, size: { field: "size" },
      fill_color: colour("failed"), line_color: colour("failed"), line_width: 3,
    }), source);
    for (const one of [bars, marks]) {
      one.nonselection_glyph = one.glyph;
      one.selection_glyph = one.glyph;
    }
    hover(plot, [bars, marks], [["call", "@what"], ["end", "@end"], ["at", "@when"], ["then", "@then"]]);
    const tap = new Bokeh.TapTool({ renderers: [bars, marks] });
    plot.add_tools(tap);
    plot.toolbar.active_tap = tap;
    source.selected.properties.indices.change.connect(() => {
      const [row] = source.selected.indices;
      if (row !== undefined) choose(failed[row].index);
    });
  }

  // shows what the table says of an attempt that failed, and its stack
  function choose(index) {
    const cells = [...document.querySelectorAll(`#incident-${index} td`)].map((cell) => cell.textContent);
    const panel = document.getElementById("chosen");
    const line = document.createElement("p");
    line.textContent = cells.filter(Boolean).join(" · ");
    panel.replaceChildren(line);
    const { stack } = data.incidents[index];
    if (stack !== null) {
      panel.append(document.querySelector(`#stack-${stack} pre`).cloneNode(true));
    }
  }

  function draw() {
    shown?.then((views) => views.clear());
    const margin = (data.seconds || 1) * 0.01;
    const x_range = new Bokeh.Range1d({ start: at(-margin), end: at((data.seconds || 1) + margin) });
    const charts = new Bokeh.Document(); // one of both: they share the range of time
    const places = [];
    for (const [id, make] of [["throughput", throughput], ["lanes", lanes]]) {
      const place = document.getElementById(id);
      if (place === null) continue;
      place.replaceChildren();
      places.push(place);
      charts.add_root(make(x_range));
    }
    shown = Bokeh.embed.add_document_standalone(charts, document.body, places);
  }

  // a link to a stack opens what it is folded in
  function unfold() {
    const target = document.getElementById(location.hash.slice(1));
    const folded = target?.closest("details");
    if (folded) {
      folded.open = true;
      target.scrollIntoView();
    }
  }

  draw();
  dark.addEventListener("change", draw);
  addEventListener("hashchange", unfold);
  addEventListener("beforeprint", () => {
    for (const folded of document.querySelectorAll("details")) folded.open = true;
  });
})();
