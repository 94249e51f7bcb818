package verify

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/nftables"
	"natlab/nat/proof"
	"natlab/nat/rules"
	"natlab/topology"
)

// The files of a recording's directory.
const (
	runFile    = "run.json"       // a Recording
	eventsFile = "events.json.gz" // an event a line, in the order in which they happened
	reportFile = "report.json"    // the proof as it was made
)

// Recording is what a run is judged by, besides what was seen of it: the lab as it was made and as it is, and what is asked.
type Recording struct {
	Lab         string                       `json:"lab"`
	Family      topology.Family              `json:"family,omitzero"` // of all flows; what else there is of another is as it was read
	Backend     string                       `json:"backend"`
	Overlay     string                       `json:"overlay"`
	Notes       []string                     `json:"notes,omitempty"`
	Intent      topology.Cluster             `json:"intent"`         // whose Services decide what must happen
	Plan        topology.Plan                `json:"plan"`           // as the lab was made
	Made        []beside                     `json:"made,omitempty"` // beside the plan, as Beside is
	MadeServers []topology.Server            `json:"madeServers"`
	Now         topology.Plan                `json:"now"` // as it was read, but for what is in Beside
	Beside      []beside                     `json:"beside"`
	Servers     []topology.Server            `json:"servers"`
	KernelIPIP  bool                         `json:"kernelIPIP"`
	Kernel      nat.Kernel                   `json:"kernel"`
	IPsec       rules.Answer                 `json:"ipsec"`
	Sets        map[string]string            `json:"sets"` // by member, as ipset save prints them
	Nodes       []string                     `json:"nodes"`
	Held        map[string][]recordedRuleset `json:"held"`             // by node, in the kernel's order
	Native      map[string]string            `json:"native,omitempty"` // by node: the tables of nf_tables' own, as nft list ruleset prints them
	World       map[string][]string          `json:"world"`
	Wired       map[string]bool              `json:"wired"` // nodes whose NAT is not their kernel's
	AsIs        bool                         `json:"asIs"`
	Strict      bool                         `json:"strict"`
	Selected    bool                         `json:"selected"`
	Flows       []proof.Flow                 `json:"flows"`
	Remembered  []remembered                 `json:"remembered,omitempty"`
	NotAsked    []proof.NotAsked             `json:"notAsked"`
}

// recordedRuleset is what a node holds in one backend, as iptables-save prints it.
type recordedRuleset struct {
	Backend dataplane.Backend `json:"backend"`
	Rules   string            `json:"rules"`
}

// beside is what a Namespace's own JSON leaves out, in its order: it is no part of a lab's plan.
type beside struct {
	Dumped  bool                   `json:"dumped,omitempty"`
	Rules   []topology.RoutingRule `json:"rules,omitempty"`
	Others  []besideRoute          `json:"others,omitempty"`
	Unruled []besideRoute          `json:"unruled,omitempty"`
	Tables  []string               `json:"tables,omitempty"`  // of its Routes
	NoRoute []bool                 `json:"noRoute,omitempty"` // of its Addresses
	Old     []bool                 `json:"old,omitempty"`     // those of them that are deprecated
	Devices []besideDevice         `json:"devices,omitempty"`
}

type besideDevice struct {
	KindFrom      topology.KindSource
	Hairpin       topology.Switch
	Behind        []netip.Addr
	Calls, Calls6 topology.Switch
	Upon, Bears   string       `json:",omitempty"`
	Met           []netip.Addr `json:",omitempty"`
	Filters       bool         `json:",omitempty"`
}

// besideRoute is a route with its table.
type besideRoute struct {
	Route topology.Route `json:"route"`
	Table string         `json:"table,omitempty"`
}

func besideRoutes(all []topology.Route) (out []besideRoute) {
	for _, r := range all {
		out = append(out, besideRoute{r, r.Table})
	}
	return out
}

func routesBeside(all []besideRoute) (out []topology.Route) {
	for _, r := range all {
		r.Route.Table = r.Table
		out = append(out, r.Route)
	}
	return out
}

// besides are what the namespaces of a plan have beside.
func besides(p topology.Plan) (out []beside) {
	for _, ns := range p.Namespaces {
		out = append(out, besideOf(ns))
	}
	return out
}

// restore puts back what the namespaces of a plan have beside.
func restore(all []beside, p *topology.Plan) error {
	if len(all) != len(p.Namespaces) {
		return fmt.Errorf("%d namespaces, and something beside %d", len(p.Namespaces), len(all))
	}
	for i, b := range all {
		if err := b.restore(&p.Namespaces[i]); err != nil {
			return err
		}
	}
	return nil
}

func besideOf(ns topology.Namespace) beside {
	b := beside{Dumped: ns.Dumped, Rules: ns.Rules, Others: besideRoutes(ns.Others), Unruled: besideRoutes(ns.Unruled)}
	for _, r := range ns.Routes {
		b.Tables = append(b.Tables, r.Table)
	}
	for _, a := range ns.Addresses {
		b.NoRoute, b.Old = append(b.NoRoute, a.NoRoute), append(b.Old, a.Deprecated)
	}
	for _, d := range ns.Devices {
		b.Devices = append(b.Devices, besideDevice{d.KindFrom, d.Hairpin, d.Behind, d.Calls, d.Calls6, d.Upon, d.Bears, d.Met, d.Filters})
	}
	return b
}

// restore puts it back.
func (b beside) restore(ns *topology.Namespace) error {
	if len(b.Tables) != len(ns.Routes) || len(b.NoRoute) != len(ns.Addresses) || len(b.Devices) != len(ns.Devices) {
		return fmt.Errorf("namespace %s: its routes, addresses and devices are not as many as what is noted beside them", ns.Member)
	}
	ns.Dumped, ns.Rules, ns.Others, ns.Unruled = b.Dumped, b.Rules, routesBeside(b.Others), routesBeside(b.Unruled)
	for i, table := range b.Tables {
		ns.Routes[i].Table = table
	}
	for i, is := range b.NoRoute {
		ns.Addresses[i].NoRoute = is
	}
	for i, is := range b.Old[:min(len(b.Old), len(ns.Addresses))] {
		ns.Addresses[i].Deprecated = is
	}
	for i, d := range b.Devices {
		to := &ns.Devices[i]
		to.KindFrom, to.Hairpin, to.Behind, to.Calls, to.Calls6 = d.KindFrom, d.Hairpin, d.Behind, d.Calls, d.Calls6
		to.Upon, to.Bears, to.Met, to.Filters = d.Upon, d.Bears, d.Met, d.Filters
	}
	return nil
}

// keep notes the lab as it was read.
func (r *Recording) keep(held nodeRules, wired map[string]bool) {
	n := held.network
	r.Now, r.Servers, r.KernelIPIP, r.Kernel, r.IPsec = n.Plan, n.Servers, n.KernelIPIP, n.Kernel, n.IPsec
	r.Sets, r.Nodes, r.World, r.Wired = n.SavedSets, held.nodes, n.World, wired
	r.Held = map[string][]recordedRuleset{}
	r.Made, r.Beside = besides(r.Plan), besides(n.Plan)
	r.Native = map[string]string{}
	for node, native := range n.NFTOf {
		r.Native[node] = native.String()
	}
	for node, all := range n.Held {
		for _, in := range all {
			r.Held[node] = append(r.Held[node], recordedRuleset{in.Backend, in.Rules.String()})
		}
	}
}

// rulesets are what a node holds.
func (r *Recording) rulesets(node string) (out []dataplane.Installed, err error) {
	for _, in := range r.Held[node] {
		rs, err := iptables.Parse(strings.NewReader(in.Rules), nat.Family(r.Family))
		if err != nil {
			return nil, fmt.Errorf("rules of %s: %w", node, err)
		}
		out = append(out, dataplane.Installed{Backend: in.Backend, Rules: rs})
	}
	return out, nil
}

// native are the tables of nf_tables' own, by node; nil: none were read.
func (r *Recording) native() (map[string]nftables.Ruleset, error) {
	var out map[string]nftables.Ruleset
	for node, text := range r.Native {
		rs, err := nftables.ParseText(text)
		if err != nil {
			return nil, fmt.Errorf("nftables' rules of %s: %w", node, err)
		}
		if out == nil {
			out = map[string]nftables.Ruleset{}
		}
		out[node] = rs
	}
	return out, nil
}

// event is one line of a recording: one of its fields is set.
type event struct {
	Round *roundRecord `json:"round,omitempty"`
	Batch *batchRecord `json:"batch,omitempty"`
	End   *closing     `json:"end,omitempty"`
}

// roundRecord begins a run with taps: the flows that it asks, by their place in Recording.Flows, and what is known of each without.
type roundRecord struct {
	Flows    []int             `json:"flows"`
	Controls [][]proof.Control `json:"controls"` // one a flow
}

// batchRecord is a batch of attempts with all that was seen meanwhile.
type batchRecord struct {
	Attempts []attemptRecord     `json:"attempts"`
	Seen     []proof.Observation `json:"seen"`
	Missed   uint64              `json:"missed"`   // events that the kernel could not deliver
	Troubles map[string][]string `json:"troubles"` // by node: connection tracking counters that grew; under "": those of the machine
	// Holders are entries of other connections, of earlier batches too, whose tuples kept an entry of this batch from the port of its client, or which may have made it.
	Holders []nat.Conn `json:"holders,omitempty"`
}

// attemptRecord is a flow asked once.
type attemptRecord struct {
	Flow    int            `json:"flow"` // its place in Recording.Flows
	Probe   nat.Probe      `json:"probe"`
	Stuck   netip.AddrPort `json:"stuck,omitzero"`
	Whole   bool           `json:"whole,omitempty"`
	Ends    proof.Ends     `json:"ends"`
	Overdue bool           `json:"overdue,omitempty"`
	Lost    bool           `json:"lost,omitempty"`
}

// closing ends a recording.
type closing struct {
	Ended string   `json:"ended"`
	Notes []string `json:"notes,omitempty"` // that are not judged
}

// recorder writes a recording; a nil one writes nothing.
type recorder struct {
	dir    string
	file   *os.File
	events *gzip.Writer
}

// newRecorder makes the directory, which must not be there or be empty.
func newRecorder(dir string, about Recording) (*recorder, error) {
	if err := emptyDirectory(dir); err != nil {
		return nil, err
	}
	if err := writeJSONFile(filepath.Join(dir, runFile), about); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, eventsFile), os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o640) // #nosec G304 -- the user names the directory
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return &recorder{dir: dir, file: file, events: gzip.NewWriter(file)}, nil
}

func writeJSONFile(path string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o640) // #nosec G306 -- as the umask has it
	}
	if err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func (r *recorder) add(e event) error {
	if r == nil {
		return nil
	}
	if err := json.NewEncoder(r.events).Encode(e); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

// round notes which flows are asked from here on.
func (r *recorder) round(all, asked []*flowState) error {
	if r == nil {
		return nil
	}
	out := roundRecord{}
	for _, q := range asked {
		out.Flows = append(out.Flows, slices.Index(all, q))
		out.Controls = append(out.Controls, q.controls)
	}
	return r.add(event{Round: &out})
}

// batch notes a batch.
func (r *recorder) batch(all []*flowState, attempts []*attempt, b batchRecord) error {
	if r == nil {
		return nil
	}
	for _, t := range attempts {
		b.Attempts = append(b.Attempts, attemptRecord{
			Flow: slices.Index(all, t.flowState), Probe: t.probe, Stuck: t.stuck, Whole: t.whole, Ends: t.ends, Overdue: t.overdue, Lost: t.lost,
		})
	}
	return r.add(event{Batch: &b})
}

// finish writes the end, and the report beside it.
func (r *recorder) finish(end closing, report proof.Report) error {
	if r == nil {
		return nil
	}
	err := errors.Join(r.add(event{End: &end}), r.events.Close(), r.file.Close())
	return errors.Join(err, writeJSONFile(filepath.Join(r.dir, reportFile), report))
}
