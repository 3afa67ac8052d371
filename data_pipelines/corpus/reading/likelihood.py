"""How much a text looks like Chinese: what decides between encodings that both take its bytes."""

# The most frequent characters of modern prose; traditional forms after them. Of a statute's or a novel's Han
# they are two thirds and more, of Han that a wrong encoding makes a tenth.
_FREQUENT = frozenset(
    "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于"
    "着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还"
    "进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情"
    "明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或"
    "新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员"
    "解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太"
    "量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基"
    "眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交"
    "规万取拉格望觉术领共确传师观清今切院让识候带导争运"
    "這個們來爲國說時會對於過發後裏種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間"
    "問並應戰頭體見產話內給門兒東聲員論處義幾認條氣題爾別變總電數報結務場計資許統區隊"
    "決馬書則聽卻達強難權設記類據邊張該規萬覺術領確傳師觀讓識帶導爭運為裡"
    "，。、；：？！（）《》「」『』“”…—·"
)


def frequent_share(text: str) -> float:
    """Share of frequent Chinese characters and marks among those that are not ASCII, 0 where all are."""
    foreign = [character for character in text if character > "\x7f"]
    return sum(map(_FREQUENT.__contains__, foreign)) / max(len(foreign), 1)
