package nftnl

// Numbers of linux/netfilter/nf_tables.h, by their names there without NFTA_ and NFT_.
const (
	msgNewTable, msgGetTable, msgDelTable       = 0, 1, 2
	msgNewChain, msgGetChain, msgDelChain       = 3, 4, 5
	msgNewRule, msgGetRule, msgDelRule          = 6, 7, 8
	msgNewSet, msgGetSet, msgDelSet             = 9, 10, 11
	msgNewElement, msgGetElement, msgDelElement = 12, 13, 14
	msgNewObject, msgGetObject, msgDelObject    = 18, 19, 20

	tableName, tableFlags, tableUserData = 1, 2, 6

	chainTable, chainHandle, chainName, chainHook, chainPolicy, chainType, chainFlags, chainUserData = 1, 2, 3, 4, 5, 7, 10, 12
	hookNumber, hookPriority, hookDevice, hookDevices                                                = 1, 2, 3, 4

	ruleTable, ruleChain, ruleHandle, ruleExpressions, ruleUserData = 1, 2, 3, 4, 7

	setTable, setName, setFlags, setKeyType, setKeyLen, setDataType, setDataLen, setPolicy, setDesc, setID = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
	setTimeout, setGCInterval, setUserData, setObjType, setExpr, setExpressions                            = 11, 12, 13, 15, 17, 18
	descSize, descConcat, fieldLen                                                                         = 1, 2, 1

	flagAnonymous, flagConstant, flagInterval, flagMap, flagTimeout, flagDynamic, flagObject, flagConcat = 1, 2, 4, 8, 16, 32, 64, 128

	elementsTable, elementsSet, elementsList, elementsSetID                                                = 1, 2, 3, 4
	elementKey, elementData, elementFlags, elementTimeout, elementExpiration, elementUserData, elementExpr = 1, 2, 3, 4, 5, 6, 7
	elementObject, elementKeyEnd, elementExpressions                                                       = 9, 10, 11
	endsInterval, catchAll                                                                                 = 1, 2

	dataValue, dataVerdict, verdictCode, verdictChain = 1, 2, 1, 2
	verdictData                                       = 0xffffff00 // DATA_VERDICT

	objectTable, objectName, objectType, objectData, objectUserData = 1, 2, 3, 4, 8

	ofTable            = 1 // of chains, rules, sets and objects
	listElement        = 1
	exprName, exprData = 1, 2
)

// Verdicts, as they are signed.
const (
	codeDrop, codeAccept, codeQueue                               = 0, 1, 3
	codeContinue, codeBreak, codeJump, codeGoto, codeReturn int32 = -1, -2, -3, -4, -5
)

// Comparisons of cmp.
const (
	cmpEq = iota
	cmpNeq
	cmpLt
	cmpLte
	cmpGt
	cmpGte
)

// Keys of the user data that nft keeps (libnftnl/udata.h).
const (
	noteComment                                                           = 0 // of tables, chains, rules, elements and objects
	noteKeyOrder, noteDataOrder, noteMerge, noteKeyTypeof, noteDataTypeof = 0, 1, 2, 3, 4
	noteSetComment                                                        = 7
	orderHost, orderBig                                                   = 1, 2
)

// families are the protocol families by the names that nft has for them.
var families = map[string]uint8{"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
