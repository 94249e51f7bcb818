package conformance

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"natlab/lab/netns"
	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/topology"
)

// Row is one cell of a test's matrix: a client at an entry, and who answered.
type Row struct {
	Key      string `json:"key"` // "pod0 -> node1 -> pod2 Local": client, entry, endpoint, policy; hairpin where a pod is its own client
	Family   string `json:"family"`
	Protocol string `json:"protocol"`
	End      string `json:"end"` // answered, refused, rejected, reset or lost
}

// reachWords are the keys of the verb.
var reachWords = []string{"from", "at", "ports", "by", "family", "seen", "same", "times", "end", "pause", "wait"}

// cell is what one client asks at one entry by one port and family.
type cell struct {
	client actor
	entry  string
	policy string
	tuple  nat.Tuple
	want   map[string]bool // the endpoints by their names, and whether each has answered
	times  int             // at least
	asked  int
	end    string // how it ended last
	first  string // who answered first
	wrong  string // why it failed; "" where it did not
}

// expectation is what has to come of all cells of a reach.
type expectation struct {
	end, seen string
	same      bool
	pause     time.Duration // between two questions of one cell
	wait      time.Duration // how long what is not yet as wanted may become so
}

// most is how often a cell is asked for all endpoints to be heard: of three the chance to miss one is 3 in 10^11.
const most = 64

// reach: see the package's doc.
func (t *stage) reach(name string, o map[string]string) error {
	s := t.services[name]
	if s == nil {
		return fmt.Errorf("there is no Service %q", name)
	}
	cells, err := t.cells(s, o)
	if err != nil {
		return err
	}
	if len(cells) == 0 {
		return fmt.Errorf("nobody asks: want from= and at=")
	}
	want := expectation{end: cmp.Or(o["end"], "answered"), seen: o["seen"], same: o["same"] == "yes"}
	if t.proxied {
		want.wait = t.limit / patience // a real kube-proxy takes its time
	}
	for key, to := range map[string]*time.Duration{"pause": &want.pause, "wait": &want.wait} {
		if o[key] == "" {
			continue
		}
		if *to, err = time.ParseDuration(o[key]); err != nil {
			return fmt.Errorf("%s=%s: want a duration", key, o[key])
		}
	}
	byClient := map[string][]*cell{}
	for _, c := range cells {
		byClient[c.client.name] = append(byClient[c.client.name], c)
	}
	var clients sync.WaitGroup
	var mu sync.Mutex
	var first error
	for _, of := range byClient {
		clients.Go(func() {
			err := t.askAll(of, want)
			mu.Lock()
			defer mu.Unlock()
			first = cmp.Or(first, err)
		})
	}
	clients.Wait()
	var wrong []string
	for _, c := range cells {
		t.row(c)
		if c.wrong != "" {
			wrong = append(wrong, fmt.Sprintf("%s -> %s %s: %s", c.client.name, c.entry, c.tuple, c.wrong))
		}
	}
	if first == nil && len(wrong) > 0 {
		first = fmt.Errorf("%s", strings.Join(wrong, "\n"))
	}
	return first
}

// askAll asks the cells of one client until each has what it wants, or one that it does not.
func (t *stage) askAll(cells []*cell, want expectation) error {
	h, err := t.world.lab.Handle(cells[0].client.member)
	if err != nil {
		return err
	}
	wait := t.limit / patience
	if strings.Contains(want.end, "lost") {
		wait = t.limit / impatience
	}
	deadline := time.Now().Add(want.wait)
	for {
		var open []*cell
		for _, c := range cells {
			if !c.done(want) {
				open = append(open, c)
			}
		}
		if len(open) == 0 {
			return nil
		}
		t.round(h, open, want, wait)
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if want.wait > 0 && time.Now().Before(deadline) {
			t.again(cells)
		}
	}
}

// again lets cells that failed begin anew.
func (t *stage) again(cells []*cell) {
	for _, c := range cells {
		if c.wrong == "" {
			continue
		}
		c.wrong, c.asked, c.first = "", 0, ""
		for e := range c.want {
			c.want[e] = false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// batch is how many questions of one cell are under way at a time.
const batch = 4

// round asks each cell a few times.
func (t *stage) round(h netns.Handle, open []*cell, want expectation, wait time.Duration) {
	var tuples []nat.Tuple
	var of []*cell
	for _, c := range open {
		n := batch
		if want.pause > 0 {
			n = 1
		}
		if want.end != "answered" {
			n = c.times
		}
		for range min(n, max(1, c.times-c.asked+len(c.want))) {
			tuples, of = append(tuples, c.tuple), append(of, c)
		}
	}
	ctx, cancel := context.WithTimeout(t.ctx, wait)
	defer cancel()
	for i, r := range traffic.AskAll(ctx, h, tuples) {
		of[i].take(t, r, want)
	}
	if want.pause > 0 {
		time.Sleep(want.pause)
	}
}

// done reports whether a cell need not be asked again.
func (c *cell) done(want expectation) bool {
	switch {
	case c.wrong != "":
		return true
	case c.asked < c.times:
		return false
	case want.end != "answered" || want.same:
		return true
	}
	for e, answered := range c.want {
		if !answered && c.asked >= most {
			c.wrong = fmt.Sprintf("asked %d times, and %s never answered", c.asked, e)
		}
		if !answered {
			return c.wrong != ""
		}
	}
	return true
}

// take holds a result against what is wanted.
func (c *cell) take(t *stage, r traffic.Result, want expectation) {
	c.asked++
	c.end = endOf(r.Err)
	if c.wrong != "" {
		return
	}
	if !slices.Contains(strings.Split(want.end, "|"), c.end) {
		c.wrong = fmt.Sprintf("want %s, got %s", want.end, c.end)
		if r.Err == nil {
			c.wrong += " by " + r.Answer.Server
		}
		return
	}
	if r.Err != nil {
		return
	}
	who := r.Answer.Server
	if a, ok := t.cast.byPod(who); ok {
		who = a.name
	}
	_, may := c.want[who]
	switch self := r.Answer.PeerSeen.Addr() == r.Answer.Local.Addr(); {
	case !may:
		c.wrong = fmt.Sprintf("%s answered, and is none of its endpoints", who)
	case want.same && c.first != "" && c.first != who:
		c.wrong = fmt.Sprintf("%s answered, and then %s: want one of them", c.first, who)
	case want.seen == "self" && !self:
		c.wrong = fmt.Sprintf("%s saw %s, and the client is %s", who, r.Answer.PeerSeen.Addr(), r.Answer.Local.Addr())
	case want.seen == "other" && self:
		c.wrong = fmt.Sprintf("%s saw the client's own address %s", who, r.Answer.PeerSeen.Addr())
	}
	c.first = cmp.Or(c.first, who)
	c.want[who] = true
}

// endOf is how an exchange ended, in the words of a scenario's end=.
func endOf(err error) string {
	if err == nil {
		return "answered"
	}
	return map[traffic.Kind]string{
		traffic.Refused: "refused", traffic.Unreachable: "rejected", traffic.Reset: "reset", traffic.Timeout: "lost", traffic.Garbled: "garbled",
	}[traffic.KindOf(err)]
}

// cells are all that a reach asks.
func (t *stage) cells(s *service, o map[string]string) (out []*cell, err error) {
	list, err := s.ports()
	if o["ports"] != "" {
		list, err = ports(o["ports"])
	}
	if err != nil {
		return nil, err
	}
	families, err := t.familiesOf(s, o["family"])
	if err != nil {
		return nil, err
	}
	times := 1
	if o["times"] != "" {
		if times, err = strconv.Atoi(o["times"]); err != nil {
			return nil, fmt.Errorf("times=%s: want a number", o["times"])
		}
	}
	for from := range strings.SplitSeq(o["from"], ",") {
		client, ok := t.cast[from]
		if !ok {
			return nil, fmt.Errorf("from=%s: there is no %q in the cast", o["from"], from)
		}
		for entry := range strings.SplitSeq(o["at"], ",") {
			for i, p := range list {
				for _, f := range families {
					targets, err := t.targets(s, entry, p, i, f)
					if err != nil {
						return nil, err
					}
					for _, to := range targets {
						c, err := t.cell(s, client, entry, p, to, o["by"])
						if err != nil {
							return nil, err
						}
						c.times = times
						out = append(out, c)
					}
				}
			}
		}
	}
	return out, nil
}

func (t *stage) familiesOf(s *service, word string) ([]topology.Family, error) {
	if word == "" || word == "all" {
		return s.families(t.families)
	}
	one := &service{words: map[string]string{"families": word}}
	return one.families(t.families)
}

// target is where a cell asks, and which endpoint alone may answer there; nil for any of the Service's.
type target struct {
	at    netip.AddrPort
	alone *actor
}

// targets are what an entry is of a family.
func (t *stage) targets(s *service, entry string, p port, i int, f topology.Family) ([]target, error) {
	nodePort := func(a netip.Addr) ([]target, error) {
		n := s.nodePorts[p.String()]
		if n == 0 {
			return nil, fmt.Errorf("at=%s: %s has no node port for %s", entry, s.name, p)
		}
		return []target{{at: netip.AddrPortFrom(a, n)}}, nil
	}
	switch who := t.cast[entry]; {
	case entry == "cluster":
		return []target{{at: netip.AddrPortFrom(s.ips[f], p.number)}}, nil
	case entry == "external":
		return []target{{at: netip.AddrPortFrom(s.external[f], p.number)}}, nil
	case entry == "localhost":
		if f == topology.IPv6 || t.world.base.KubeProxy.Mode == topology.ModeNFTables {
			return nil, nil // kube-proxy serves no node ports at ::1, and in nftables mode none at 127.0.0.1
		}
		return nodePort(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	case entry == "lb":
		var out []target
		for _, key := range []string{"0", "1", "2"} {
			if a, ok := s.balancers[key+f.String()]; ok && s.word("lb", "") == key {
				out = append(out, target{at: netip.AddrPortFrom(a, p.number)})
			}
		}
		return out, nil
	case entry == "pod":
		all, err := s.endpoints(t.cast)
		var out []target
		for _, e := range all {
			out = append(out, target{netip.AddrPortFrom(e.who.address(f), uint16(t.targetOf(s, i))), &e.who})
		}
		return out, err
	case who.pod == "" && who.node != "":
		return nodePort(who.address(f))
	}
	return nil, fmt.Errorf("at=%s: want cluster, external, localhost, lb, pod or a node of the cast", entry)
}

// cell is one question.
func (t *stage) cell(s *service, client actor, entry string, p port, to target, by string) (*cell, error) {
	proto, err := nat.ParseProto(p.proto)
	if err != nil {
		return nil, err
	}
	src := netip.IPv4Unspecified()
	if to.at.Addr().Is6() {
		src = netip.IPv6Unspecified()
	}
	c := &cell{client: client, entry: entry, policy: s.policy(entry), tuple: nat.TupleOf(proto, netip.AddrPortFrom(src, 0), to.at), want: map[string]bool{}}
	switch {
	case to.alone != nil:
		c.want[to.alone.name] = false
	case by != "":
		for name := range strings.SplitSeq(by, ",") {
			c.want[name] = false
		}
	default:
		all, err := s.endpoints(t.cast)
		if err != nil {
			return nil, err
		}
		for _, e := range all {
			if e.state == "" {
				c.want[e.who.name] = false
			}
		}
	}
	return c, nil
}

// policy is the one that decides at an entry: the internal one at the cluster IP, and else the external one.
func (s *service) policy(entry string) string {
	switch entry {
	case "cluster":
		return s.word("itp", "Cluster")
	case "pod":
		return ""
	}
	return s.word("etp", "Cluster")
}

// row notes a cell down, with a row for each endpoint that answered.
func (t *stage) row(c *cell) {
	family := topology.FamilyOf(c.tuple.Dst().Addr()).String()
	add := func(endpoint, end string) {
		words := []string{c.client.name, "->", c.entry, "->", endpoint}
		if c.policy != "" {
			words = append(words, c.policy)
		}
		if endpoint == c.client.name {
			words = append(words, "hairpin")
		}
		t.rows = append(t.rows, Row{Key: strings.Join(words, " "), Family: family, Protocol: c.tuple.Proto().String(), End: end})
	}
	answered := false
	for _, e := range sorted(c.want) {
		if c.want[e] {
			add(e, "answered")
			answered = true
		}
	}
	if !answered {
		add("nobody", c.end)
	}
}
