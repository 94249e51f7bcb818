package proof

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"natlab/nat"
)

// Plane is a lab's proof, by the name of what does the NAT in its nodes.
type Plane struct {
	Name   string
	Report Report
}

// Comparison holds the same flows against each other, as several data planes carried them, each in a lab of its own.
type Comparison struct {
	Planes   []string   `json:"planes"`             // the first that knows how a flow ends is what the others are held against
	Flows    []Compared `json:"flows"`              // those that differ, then those that a plane has not proved, each in the order of Flows
	NotAsked []NotAsked `json:"notAsked,omitempty"` // addresses of Services that some plane was not asked
	Ended    string     `json:"ended,omitempty"`    // why a plane's proof ended before all was asked
}

// Compared is a flow with what each plane made of it.
type Compared struct {
	Flow
	Differ  []string  `json:"differ,omitempty"` // the planes whose endings are others than the first's; one that is inconclusive is not among them
	Results []OnPlane `json:"results"`          // in the order of Comparison.Planes
}

// OnPlane is what one plane made of a flow.
type OnPlane struct {
	Plane   string   `json:"plane"`
	Verdict Outcome  `json:"verdict"`       // Disproved if one of the flow's certificates is, else Inconclusive if one is or there is none
	Endings []Ending `json:"endings"`       // one for each endpoint that served, sorted by it
	Why     string   `json:"why,omitempty"` // for every verdict but Proved
}

// Ending is all that two data planes have to agree about: who served, as whom the client came, and what it saw of that.
type Ending struct {
	End         nat.End        `json:"end"`                 // as the client saw it
	Endpoint    netip.AddrPort `json:"endpoint,omitzero"`   // the endpoint that served; invalid where none did
	Server      string         `json:"server,omitempty"`    // the member whose server answered
	ClientPeer  netip.AddrPort `json:"clientPeer,omitzero"` // where the answer came from, as the client's socket saw it
	Masqueraded bool           `json:"masqueraded"`         //
}

// Compare compares what planes made of flows. The planes whose word counts, the kernel's, have to come first.
func Compare(flows []Flow, planes []Plane) Comparison {
	c := Comparison{Planes: []string{}, Flows: make([]Compared, len(flows))}
	for i, f := range flows {
		c.Flows[i] = Compared{Flow: f, Results: []OnPlane{}}
	}
	for _, p := range planes {
		c.Planes = append(c.Planes, p.Name)
		certs := map[string][]Certificate{}
		for _, cert := range p.Report.Flows {
			certs[cert.Name] = append(certs[cert.Name], cert)
		}
		for i, f := range flows {
			c.Flows[i].Results = append(c.Flows[i].Results, onPlane(p, certs[f.Name]))
		}
		for _, n := range p.Report.NotAsked {
			if !slices.Contains(c.NotAsked, n) {
				c.NotAsked = append(c.NotAsked, n)
			}
		}
		if p.Report.Ended != "" && c.Ended == "" {
			c.Ended = p.Name + ": " + p.Report.Ended
		}
	}
	for i := range c.Flows {
		c.Flows[i].Differ = differing(c.Flows[i].Results)
	}
	slices.SortStableFunc(c.Flows, func(a, b Compared) int { return cmp.Compare(a.rank(), b.rank()) })
	return c
}

func onPlane(p Plane, certs []Certificate) OnPlane {
	r := OnPlane{Plane: p.Name, Verdict: Report{Flows: certs}.Outcome(), Endings: []Ending{}}
	if len(certs) == 0 {
		r.Why = "not asked: " + cmp.Or(p.Report.Ended, "the lab has no such flow")
	}
	for _, c := range certs {
		e := Ending{c.End, c.Endpoint, c.Server, c.ClientPeer, c.Masqueraded}
		if !slices.Contains(r.Endings, e) {
			r.Endings = append(r.Endings, e)
		}
		if r.Why == "" && c.Verdict == r.Verdict && c.Wrong != nil {
			r.Why = fmt.Sprintf("%s: want %s, got %s", c.Wrong.Check, c.Wrong.Want, c.Wrong.Got)
		}
	}
	slices.SortFunc(r.Endings, func(a, b Ending) int {
		return cmp.Or(a.Endpoint.Compare(b.Endpoint), cmp.Compare(a.End, b.End), cmp.Compare(a.Server, b.Server),
			a.ClientPeer.Compare(b.ClientPeer), cmp.Compare(fmt.Sprint(a.Masqueraded), fmt.Sprint(b.Masqueraded)))
	})
	return r
}

// differing lists the planes that are known to end a flow otherwise than the first of which it is known.
func differing(all []OnPlane) (out []string) {
	var first *OnPlane
	for i, r := range all {
		switch {
		case r.Verdict == Inconclusive:
		case first == nil:
			first = &all[i]
		case !slices.Equal(first.Endings, r.Endings):
			out = append(out, r.Plane)
		}
	}
	return out
}

// Proved reports whether every plane's proof of the flow is one.
func (c Compared) Proved() bool {
	return !slices.ContainsFunc(c.Results, func(r OnPlane) bool { return r.Verdict != Proved })
}

// rank is 0 for a flow that differs, 1 for one that is not proved on every plane, else 2.
func (c Compared) rank() int {
	switch {
	case len(c.Differ) > 0:
		return 0
	case !c.Proved():
		return 1
	}
	return 2
}

// Agrees reports whether there is a flow, all were asked, none differs, and every plane's proof of each is one.
func (c Comparison) Agrees() bool {
	return len(c.Flows) > 0 && c.Ended == "" && !slices.ContainsFunc(c.Flows, func(f Compared) bool { return f.rank() < 2 })
}
