package view

import (
	"slices"

	"natlab/nat"
	"natlab/nat/xt"
	"natlab/nat/xtables"
)

// Version is a release of the iptables program, legacy backend.
type Version = xt.Version

// The bounds of what natlab describes. Before Oldest the output is spaced otherwise.
var (
	Oldest = xt.Oldest
	Newest = xt.Newest
)

// Versions are the releases at which what the program shows of a kernel's rules changes, and the seed's own.
func Versions() []Version { return xt.Versions() }

// ParseVersion reads "1.4.21", with or without a leading "v".
func ParseVersion(s string) (Version, error) { return xt.ParseVersion(s) }

// feature is something of the output that came with one release, and may have gone with another.
type feature uint8

const (
	comparesRevisions feature = iota // print and save look at the revision before they read the bytes
	numericProtocols                 // -L -n prints protocols as numbers
	protocolBlank                    // -L -n parts the protocol's column from the next one, however long a name is
	ownNamesOnly                     // iptables-save does not ask /etc/protocols for a protocol's name
	nftBackend                       // iptables-nft
	optColumnInIPv6                  // ip6tables -L prints "--" in the opt column, which was blank before
)

// features is from which release on, and before which, a feature holds.
var features = map[feature]struct{ since, until Version }{
	// bfa3321f "iptables: on revision mismatch, do not call print/save", 2016-12.
	comparesRevisions: {since: Version{1, 6, 1}},
	nftBackend:        {since: Version{1, 8, 0}},
	// Came with 1.8.9, went again because scripts stumbled over it.
	numericProtocols: {since: Version{1, 8, 9}, until: Version{1, 8, 11}},
	optColumnInIPv6:  {since: Version{1, 8, 9}},
	protocolBlank:    {since: Version{1, 8, 9}},
	ownNamesOnly:     {since: Version{1, 8, 11}},
}

func knows(v Version, f feature) bool {
	x := features[f]
	return !v.Before(x.since) && (x.until == Version{} || v.Before(x.until))
}

// HasNFT reports whether the version comes with iptables-nft, which keeps its rules in nf_tables.
func HasNFT(v Version) bool { return knows(v, nftBackend) }

// revision is the one with which the version writes and reads an extension; ok is false where that has not changed since Oldest. On
// a kernel that has them all, a version writes the newest it knows, and it is that one with which it prints: any other in the
// kernel is misread, or refused from comparesRevisions on.
//
// nfacct revision 1 (the same bytes on 64-bit machines) came late in 2019: 1.6.1 to 1.8.3 refuse to show the nfacct matches
// that kube-proxy 1.29 and later write.
func revision(v Version, f nat.Family, name string, kind xt.Kind) (rev uint8, ok bool) {
	x, known := xt.Find(name, kind, f)
	if !known || x.Name != name {
		return 0, false
	}
	l, written := x.Written(f, v)
	return l.Revision, written && x.Changed(f)
}

type extKey struct {
	name     string
	kind     xt.Kind
	revision uint8
}

// Mismatch is an extension of which the kernel holds another revision than a version of iptables reads.
type Mismatch struct {
	Name     string // "DNAT"
	Revision uint8  // in the kernel
	Read     uint8  // by the version
	Refused  bool   // the version prints [unsupported revision]; otherwise it misreads the bytes
	Count    int
	Table    string // of the first one, as are xtables.Chain and Rule
	Chain    string
	Rule     int // from 1
}

// Mismatches are the extensions of the tables that the version does not show as they are. Where another revision is
// misread to no effect, as a longer struct with the same beginning is, there is none.
func Mismatches(v Version, tables ...xtables.Table) []Mismatch {
	var out []Mismatch
	at := map[extKey]int{}
	for _, t := range tables {
		s := newShow(View{Version: v}, t)
		for i, c := range t.Chains {
			for j, e := range c.Entries {
				s.at = ruleKey{i, j}
				for k, ext := range append(slices.Clip(e.Matches), e.Target) {
					kind := xt.MatchKind
					if k == len(e.Matches) {
						kind = xt.TargetKind
					}
					rev, ok := s.mismatch(ext, kind)
					if !ok {
						continue
					}
					key := extKey{ext.Name, kind, ext.Revision}
					n, seen := at[key]
					if !seen {
						n, at[key] = len(out), len(out)
						out = append(out, Mismatch{Name: ext.Name, Revision: ext.Revision, Read: rev, Refused: knows(v, comparesRevisions), Table: t.Name, Chain: c.Name, Rule: j + 1})
					}
					out[n].Count++
				}
			}
		}
	}
	return out
}

// mismatch reports whether the version shows an extension as something else, and the revision it takes it for.
func (s *show) mismatch(e xtables.Extension, kind xt.Kind) (uint8, bool) {
	rev, changed := revision(s.view.Version, s.table.Family, e.Name, kind)
	if !changed || rev == e.Revision {
		return 0, false
	}
	if knows(s.view.Version, comparesRevisions) {
		return rev, true
	}
	_, right := s.faithful(e, kind)
	_, shown := s.misread(e, rev, kind)
	s.notes = nil
	return rev, right != shown
}
