package nftables

import "strings"

// Statement is what a rule would have in place of the object: a Counter, a Quota or a Limit, with the object's comment. false: it is of another kind,
// or has something that natlab does not read.
func (o *Object) Statement() (st Statement, comment string, ok bool) {
	words := []string{o.Kind}
	for _, line := range o.Lines {
		if value, is := strings.CutPrefix(line, "comment "); is {
			comment = strings.Trim(value, `"`)
		} else {
			words = append(words, line)
		}
	}
	rs, err := ParseText("table ip t {\n\tchain c {\n\t\t" + strings.Join(words, " ") + "\n\t}\n}\n")
	if err != nil || len(rs.Tables[0].Chains[0].Rules) != 1 || len(rs.Tables[0].Chains[0].Rules[0].Statements) != 1 {
		return nil, "", false
	}
	st = rs.Tables[0].Chains[0].Rules[0].Statements[0]
	switch st.(type) {
	case Counter, Quota, Limit:
		return st, comment, true
	}
	return nil, "", false
}

// objectKey names an object in the Memory: all rules that refer to it have one.
type objectKey struct{ table, kind, name string }

// objectStep uses an object of the table as the statement that it stands for (nft_objref_eval).
func (c *Compiled) objectStep(ref ObjectRef) step {
	key := objectKey{c.name, ref.Kind, ref.Name}
	for i := range c.source.Objects {
		o := &c.source.Objects[i]
		if o.Kind != ref.Kind || o.Name != ref.Name {
			continue
		}
		switch st, _, _ := o.Statement(); st := st.(type) {
		case Limit:
			return limitStep(st, ref.String(), key)
		case Quota:
			return quotaStep(st, ref.String(), key)
		}
	}
	if ref.Kind == "counter" {
		return func(*run) flow { return goesOn }
	}
	return openStep(ref.String())
}
