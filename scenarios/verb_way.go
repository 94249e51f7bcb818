package scenarios

import (
	"context"
	"os"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"natlab/lab/traffic"
	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/nat/proof"
	"natlab/nat/report"
)

// doWay: way prints how the last exchange went, drawn hop by hop with the rules that it met and the entries that it left,
// for cmp with a file of the scenario; -update writes that file. Ports that are different in each run have letters.
func doWay(s *stage, ts *testscript.TestScript, not bool, args []string) error {
	if not || len(args) > 0 {
		return usagef("way, after watch and ask")
	}
	live, err := s.predicted()
	if err != nil {
		return err
	}
	name := "way"
	if s.nftables() {
		name = "way-nftables"
	}
	want, _ := os.ReadFile(ts.MkAbs(name)) // #nosec G304 -- the script's own file; it may compare with another one
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	var text string
	for {
		seen, err := s.observed()
		if err != nil {
			return err
		}
		drawing := s.way(live, seen)
		text = lettered(drawing, s.knownPort)
		if text != string(want) && len(want) > 0 && !s.job.update {
			if s.isLike(string(want), live, drawing) {
				text = string(want)
				break
			}
			select {
			case <-s.taps.Notify(): // the last packets are still to come
				continue
			case <-ctx.Done():
			}
		}
		break
	}
	_, err = ts.Stdout().Write([]byte(text))
	return err
}

// isLike reports whether a drawing is the one that is wanted but for packets that were sent again: on a slow machine TCP's
// clock may run out before the script comes to draw, and a drawing then has more in it than the exchange itself.
func (s *stage) isLike(want string, live nat.Prediction, drawing string) bool {
	first, again := withoutAgain(s.ofExchange(s.last))
	return again && (holds(s.way(live, joinedOf(s.last, first)), want, s.knownPort) || holds(drawing, want, s.knownPort))
}

// way is the drawing of the last exchange, with the ports that were seen.
func (s *stage) way(live nat.Prediction, seen proof.Seen) string {
	cert := certificate(s.last, live, seen)
	for i := range cert.Conntrack {
		if c := &cert.Conntrack[i]; c.Original.Proto() == nat.UDP {
			c.Status &^= nat.Assured // whether two seconds have passed since it began depends on the machine
		}
	}
	return report.Journeys(cert, report.Style{})
}

// certificate is what was seen of an exchange.
func certificate(a asked, live nat.Prediction, seen proof.Seen) proof.Certificate {
	return proof.Check(proof.Case{
		Flow:  proof.Flow{Type: proof.ByAddress, Client: a.from, From: a.from, Protocol: a.tuple.Proto(), Source: a.tuple.Src().Addr(), Target: a.tuple.Dst()},
		Probe: a.probe(), Intent: live, Live: live, Seen: seen, Ends: a.ends(),
	})
}

// predicted is what the live rules make of the last exchange in the world that the lab made: it gives the order of the
// namespaces that the packets cross, which a route that the scenario took away would not give.
func (s *stage) predicted() (nat.Prediction, error) {
	now, err := s.lab.Network(s.ctx)
	if err != nil {
		return nil, err
	}
	now.Plan = s.lab.Plan()
	network, err := gateway.NewNetwork(now.Setup)
	if err != nil {
		return nil, err
	}
	return network.Predict(s.last.probe())
}

// ends is what a proof wants to know of an exchange.
func (a asked) ends() proof.Ends {
	e := proof.Ends{End: nat.EndLost}
	switch a.end() {
	case "answered":
		e.End = nat.EndAnswered
	case "refused", "rejected":
		e.End = traffic.EndOf(a.err)
	}
	e.Server, e.ServerAddr, e.ServerPeer, e.ClientPeer = a.answer.Server, a.answer.Endpoint, a.answer.PeerSeen, a.answer.From
	return e
}

func (s *stage) knownPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return false
	}
	if strings.Contains(string(s.job.scenario.Text), "sport="+text) || strings.Contains(string(s.job.scenario.Text), ":"+text) {
		return true
	}
	for _, svc := range s.cluster.Services {
		for _, p := range svc.Ports {
			if uint16(n) == p.Port || uint16(n) == p.NodePort {
				return true
			}
			for _, e := range p.Endpoints {
				if e.Addr.Port() == uint16(n) {
					return true
				}
			}
		}
	}
	return false
}
