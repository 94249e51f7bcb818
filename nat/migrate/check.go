package migrate

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"natlab/nat"
	"natlab/nat/kubeproxy"
	"natlab/topology"
)

// Options are which modes are compared.
type Options struct {
	From, To string // topology.ModeIPTables, topology.ModeNFTables
	Release  string // of kube-proxy, in both; "" is the cluster's, or the newest where that has no nftables mode
	Beside   Beside
	Sample   int // how many of the flows that end alike are in the report, at even distances; 0 for none
}

// Report is what a cluster's clients find otherwise.
type Report struct {
	Cluster     string       `json:"cluster"`
	From        string       `json:"from"`    // the mode that is left
	To          string       `json:"to"`      //
	Release     string       `json:"release"` // of kube-proxy
	Asked       int          `json:"asked"`   // flows
	Differences []Difference `json:"differences"`
	Sample      []Difference `json:"sample,omitempty"` // flows that end alike
	Classes     []Finding    `json:"classes"`          // of the differences, those that are not documented first
	Notes       []string     `json:"notes"`            // what is true of this move besides its flows
}

// Difference is a flow that ends otherwise in the other mode.
type Difference struct {
	Question
	Class  string   `json:"class"`  // by name; "" for one that is not documented
	Breaks bool     `json:"breaks"` // it worked, and no longer does, or less often
	From   []Ending `json:"from"`
	To     []Ending `json:"to"`
	Seen   []Sight  `json:"seen,omitempty"` // in a lab of the mode that is left and in one of the other, where it was asked
}

// Finding is a class of differences, for who has to do something about it.
type Finding struct {
	Class    string   `json:"class"` // "" for what is not documented
	Number   int      `json:"number,omitempty"`
	Breaks   int      `json:"breaks"` // how many flows worked and no longer do
	Flows    int      `json:"flows"`
	Services []string `json:"services"` // whose; sorted
	Clients  []string `json:"clients"`  // that ask; sorted
	Changes  string   `json:"changes"`  // what is otherwise
	Whom     string   `json:"whom"`     // and for whom
	Do       string   `json:"do"`       // what an administrator does about it
}

// Undocumented counts the differences that are of no class.
func (r Report) Undocumented() (n int) {
	for _, d := range r.Differences {
		if d.Class == "" {
			n++
		}
	}
	return n
}

// Broken counts the flows that worked and no longer do.
func (r Report) Broken() (n int) {
	for _, d := range r.Differences {
		if d.Breaks {
			n++
		}
	}
	return n
}

// Check predicts all flows in both modes. An error is a cluster that is not complete, a mode or release that is not known, or a
// configuration that kube-proxy does not start with.
func Check(c topology.Cluster, o Options) (Report, error) {
	m, err := newMove(c, o)
	if err != nil {
		return Report{}, err
	}
	return m.report(o.Sample)
}

// move is both sides of a migration.
type move struct {
	from, to *side
	beside   Beside
	release  string
	notes    []string
}

func newMove(c topology.Cluster, o Options) (*move, error) {
	m := &move{beside: o.Beside}
	for _, mode := range []string{o.From, o.To} {
		if mode != topology.ModeIPTables && mode != topology.ModeNFTables {
			return nil, fmt.Errorf("mode %q: want %s or %s", mode, topology.ModeIPTables, topology.ModeNFTables)
		}
	}
	c, err := m.released(c, o)
	if err != nil {
		return nil, err
	}
	c = withClients(c)
	if m.from, err = newSide(c, o.From, o.Beside); err != nil {
		return nil, err
	}
	if m.to, err = newSide(c, o.To, o.Beside); err != nil {
		return nil, err
	}
	m.notes = append(m.notes, m.advice(o.Beside)...)
	return m, nil
}

// released gives the cluster the release of both sides.
func (m *move) released(c topology.Cluster, o Options) (topology.Cluster, error) {
	had := cmp.Or(c.KubeProxy.Version, c.KubeProxy.Release)
	m.release = cmp.Or(o.Release, had)
	release, err := kubeproxy.ParseRelease(m.release)
	if err != nil {
		return c, err
	}
	if older(release.Name, firstNFT) && (o.From == topology.ModeNFTables || o.To == topology.ModeNFTables) {
		if o.Release != "" {
			return c, fmt.Errorf("release %s: kube-proxy has had nftables mode since %s: name a later one", o.Release, firstNFT)
		}
		all := kubeproxy.Releases()
		m.release = all[len(all)-1].Name
		m.notes = append(m.notes, fmt.Sprintf("kube-proxy %s has no nftables mode: both modes are those of %s; what a new release changes besides is not compared", had, m.release))
	}
	if release, err = kubeproxy.ParseRelease(m.release); err != nil {
		return c, err
	}
	c.KubeProxy.Release, c.KubeProxy.Version = release.Name, ""
	if m.release != release.Name {
		c.KubeProxy.Version = m.release
	}
	return c, nil
}

// firstNFT is the first release whose nftables mode natlab knows.
const firstNFT = "v1.31"

// older compares the names of releases.
func older(a, b string) bool {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) < 0
}

// report asks all there is to ask.
func (m *move) report(sample int) (Report, error) {
	r := Report{Cluster: m.from.cluster.Name, From: m.from.mode, To: m.to.mode, Release: m.release, Differences: []Difference{}, Classes: []Finding{}, Notes: m.notes}
	questions := newAsker(m.from, m.beside).questions()
	asked, err := m.ask(questions)
	if err != nil {
		return Report{}, err
	}
	var found []Difference
	found, r.Sample = parted(asked, sample)
	r.Asked = len(questions)
	for _, more := range []func() ([]Difference, int, error){m.invalid, m.affinity} {
		differ, n, err := more()
		if err != nil {
			return Report{}, err
		}
		found, r.Asked = append(found, differ...), r.Asked+n
	}
	for _, d := range found {
		if class := m.classify(&d); class != nil {
			d.Class = class.name
		}
		r.Differences = append(r.Differences, d)
	}
	slices.SortStableFunc(r.Differences, func(a, b Difference) int { return cmp.Compare(a.rank(), b.rank()) })
	r.Classes = m.findings(r.Differences)
	if r.Notes == nil {
		r.Notes = []string{}
	}
	return r, nil
}

// rank sorts what is not documented first, then what no longer works, then by class.
func (d Difference) rank() int {
	class := numberOf(d.Class)
	if d.Class == "" {
		class = -1
	}
	if !d.Breaks {
		class += 1 << 10
	}
	if d.Class == "" {
		class -= 1 << 11
	}
	return class
}

// parted sorts the flows that end alike out, and keeps some of those that packets can show.
func parted(asked []Difference, sample int) (differ, alike []Difference) {
	for _, d := range asked {
		if !same(d.From, d.To) {
			differ = append(differ, d)
		} else if sample > 0 && d.Askable() {
			alike = append(alike, d)
		}
	}
	if sample >= len(alike) {
		return differ, alike
	}
	some := make([]Difference, 0, sample)
	for i := range sample {
		some = append(some, alike[i*len(alike)/sample])
	}
	return differ, some
}

// ask predicts questions on both sides.
func (m *move) ask(questions []Question) ([]Difference, error) {
	out := make([]Difference, len(questions))
	errs := make([]error, len(questions))
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(questions); i = int(next.Add(1)) - 1 {
				out[i], errs[i] = m.one(questions[i])
			}
		})
	}
	workers.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", questions[i], err)
		}
	}
	return out, nil
}

// one predicts a question.
func (m *move) one(q Question) (Difference, error) {
	probe := q.Probe()
	family := nat.FamilyOf(probe.Tuple.Dst().Addr())
	d := Difference{Question: q}
	for side, into := range map[*side]*[]Ending{m.from: &d.From, m.to: &d.To} {
		p, err := side.networks[family].Predict(probe)
		if err != nil {
			return d, err
		}
		*into = endings(p)
	}
	d.Breaks = answered(d.To) < answered(d.From)-shareSlack
	return d, nil
}

// Cluster is the cluster as it is compared: of the release of both modes, with clients that the source ranges of load balancers tell apart.
func Cluster(c topology.Cluster, o Options) (topology.Cluster, error) {
	c, err := (&move{}).released(c, o)
	return withClients(c), err
}
