package nftables

import (
	"slices"
	"strings"
	"sync"
)

// selector is a row of the list: everything there is to know of one Selector.
type selector struct {
	name string // as nft prints it, with "meta" in front of what it prints without
	kind Type
	bare bool // nft prints it without "meta" (meta_key_is_unqualified)
	// read is its value of the packet, No where the packet has none, so that a rule with it does not match. nil: natlab does not know it.
	read value
}

// selectors is the list.
var selectors = slices.Concat(metaSelectors, ctSelectors, headerSelectors, rtSelectors, []selector{
	{name: "socket transparent", kind: Integer},
	{name: "socket wildcard", kind: Integer},
	{name: "socket mark", kind: MarkType},
	{name: "osf name", kind: Text},
	{name: "tcp option maxseg size", kind: InetService},
	{name: "exthdr hbh", kind: Boolean},
	{name: "exthdr rt", kind: Boolean},
	{name: "exthdr frag", kind: Boolean},
	{name: "exthdr dst", kind: Boolean},
	{name: "exthdr mh", kind: Boolean},
})

var selectorIndex = sync.OnceValue(func() map[string]*selector {
	out := make(map[string]*selector, len(selectors))
	for i := range selectors {
		row := &selectors[i]
		out[row.name] = row
		if short, is := strings.CutPrefix(row.name, "meta "); is && row.bare {
			out[short] = row
		}
	}
	out["mark"] = out["meta mark"]
	return out
})

// selectorRow is the row of a selector, by any of its names.
func selectorRow(name string) (*selector, bool) {
	row, ok := selectorIndex()[name]
	return row, ok
}
