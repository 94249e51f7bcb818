package xtables

import (
	"cmp"
	"slices"

	"natlab/nat"
	"natlab/nat/xt"
)

// rowCodecs are the extensions that have a row in nat/xt.
func rowCodecs() (out []codec) {
	for _, x := range xt.Extensions() {
		for _, l := range x.Layouts {
			for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
				if x.Families.Has(f) && l.Families.Has(f) {
					out = append(out, rowCodec(x, l, f))
				}
			}
		}
	}
	return out
}

func rowCodec(x *xt.Extension, l xt.Layout, f nat.Family) codec {
	only := onlyIPv4
	if f == nat.IPv6 {
		only = onlyIPv6
	}
	value := func(p *printer, d []byte) (xt.Value, bool) {
		v, ok := l.Decode(d[:l.Size], &xt.Env{Family: f, SetNames: p.sets})
		p.unsaid = p.unsaid || !ok
		return v, ok
	}
	return codec{
		name: cmp.Or(l.Name, x.Name), revision: l.Revision, target: x.Kind == xt.TargetKind, only: only, size: l.Size, aliases: x.Aliases,
		alias: func(p *printer, d []byte) string {
			v, ok := value(p, d)
			if !ok {
				return x.Name
			}
			return v.Name()
		},
		save: func(p *printer, d []byte) {
			if v, ok := value(p, d); ok {
				out := xt.Printer{Family: f, Version: p.version, Exact: p.exact}
				v.Save(&out)
				p.WriteString(out.String())
				p.unsaid = p.unsaid || p.exact && out.Unsaid
			}
		},
		list: func(p *printer, d []byte) {
			if v, ok := value(p, d); ok {
				out := xt.Printer{Family: f, Version: p.version}
				v.(xt.Lister).List(&out)
				p.WriteString(out.String())
			}
		},
		parse: func(a *args, d []byte) { readRow(x, l, a, d) },
	}
}

// readRow fills a struct from options in words.
func readRow(x *xt.Extension, l xt.Layout, a *args, d []byte) {
	given := xt.Args{Family: a.family, Alias: a.alias, Protocol: a.protocol}
	for word, ok := a.next(); ok; word, ok = a.next() {
		i := slices.IndexFunc(x.Options, func(o xt.Option) bool { return o.Name == word || slices.Contains(o.Also, word) })
		if i < 0 {
			a.unknown(word)
			return
		}
		g := xt.Given{Option: x.Options[i], Not: a.not, At: xt.Word{Text: word}, Protocol: a.protocol}
		values := g.Option.Values
		if len(a.words) > values && g.Option.Takes(a.words[values]) {
			values++
		}
		for range values {
			g.Values = append(g.Values, xt.Word{Text: a.value()})
		}
		given.Give(g)
	}
	if a.err != nil {
		return
	}
	v, wrong := x.Read(&given)
	if wrong != nil {
		a.fail("%w", wrong)
		return
	}
	if err := l.Encode(v, d, &xt.Env{Family: a.family, SetIndex: a.sets}); err != nil {
		a.fail("%w", err)
	}
}
