"""Sentence templates of our own for the toxicity scorer's training set: attacks, each beside its benign twins.

The texts exist so that the classifier learns what is said and not what is talked about: the same identities, verbs,
insults, swear words and emoji stand on both sides. The file therefore contains offensive language, as a detector's
training data must. No slur is written here: the caller passes rows of the profanity list, which is read in place.

A frame is one line of text with slots such as ``{G}``; a slot is filled from the person drawn for the text or from
``LISTS``, whose entries may hold slots again. ``@eth,rel`` before a frame restricts the identities that fit it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: How many texts of each kind. Toxic kinds first; the total is about 30,000 and benign kinds hold the larger half.
SHARE: dict[str, int] = {
    # attacks on identities
    "hate stated": 530,
    "negative attributes, group": 530,
    "negative attributes, person": 410,
    "dehumanisation": 490,
    "threat to a group": 370,
    "normative violence": 410,
    "wishing harm": 370,
    "exclusion": 490,
    "implicit derogation": 620,
    "hate by negation": 450,
    "hate as question": 370,
    "hate as opinion": 410,
    "hate across clauses": 410,
    "agreeing with hate": 250,
    "hate in a contrast": 330,
    "attack on a faith or orientation": 250,
    "misogyny, no swearing": 290,
    "misogyny, sworn": 290,
    "celebrated violence": 290,
    "slur": 450,
    "slur with profanity": 290,
    "emoji hate": 250,
    # attacks on persons
    "threat to you": 370,
    "threat to a third person": 250,
    "insult to you": 450,
    "insult to you, sworn": 410,
    "insult in figures of speech": 290,
    "insult to a third person": 330,
    "aggressive commands": 250,
    "bullying": 330,
    "ableist insult": 250,
    "self-harm encouraged": 290,
    "sexual harassment": 290,
    "obscene remark": 250,
    "hostile speech in a story": 290,
    "disguised spelling, attack": 200,
    "contempt": 290,
    # abuse of targets that are not protected
    "abuse, non-protected": 410,
    "complaint, non-protected": 250,
    # benign twins with identities
    "benign identity": 820,
    "proud identity": 410,
    "praise of a group": 450,
    "identity in the news": 570,
    "identity beside bad events": 490,
    "identity as question": 290,
    "identity as opinion": 330,
    "identity across clauses": 290,
    "identity, friendly profanity": 250,
    "negated hate": 530,
    "counter-speech with quote": 570,
    "counter-speech": 370,
    "contrast, benign": 330,
    "hate reported": 410,
    "slur mentioned": 290,
    "good wishes": 290,
    "inclusion": 330,
    "mourned violence": 290,
    "faith and doubt": 200,
    "women's lives": 250,
    "disability, plain": 200,
    "reclaimed": 200,
    "emoji, benign": 290,
    # benign twins without identities
    "friendly profanity": 530,
    "mild frustration": 370,
    "idiom of violence": 660,
    "hyperbole among friends": 290,
    "dislike of things": 490,
    "vermin and pests, literal": 290,
    "bad words about things": 330,
    "medical and sexual health": 370,
    "crime, law and war": 410,
    "dialogue, benign": 290,
    "self-deprecation": 290,
    "insult negated or reported": 330,
    "threat reported": 250,
    "profanity reported": 200,
    "criticism": 410,
    "polite disagreement": 290,
    "sport and games": 330,
    "warm address": 200,
    "support": 330,
    "compliment": 290,
    "courtship and sex, respectful": 160,
    "disguised spelling, benign": 150,
    "complaint about conduct": 160,
    "plain talk": 490,
    "technical": 370,
}


@dataclass(frozen=True)
class Template:
    """One text with its targets; a label is None where the template says nothing about it."""

    text: str
    toxicity: float
    identity_attack: float | None
    insult: float | None
    profanity: float | None
    threat: float | None
    sexually_explicit: float | None
    kind: str


@dataclass(frozen=True)
class _Kind:
    """The targets and the frames of one kind; profanity is read off each text."""

    toxicity: float
    #: identity attack, insult, threat, sexually explicit
    labels: tuple[float | None, float | None, float | None, float | None]
    frames: str
    #: the share of texts that carry emoji, and the pool they come from
    emoji: float = 0.05
    mood: str = "any"
    #: False where words such as "cock" and "breast" are meant literally
    swears: bool = True


# plural | singular | adjective (fits before "neighbour" or "doctor") | domain
IDENTITIES = """
women|woman|female|gen
men|man|male|gen
trans people|trans person|trans|ori
trans women|trans woman|trans|ori
trans men|trans man|trans|ori
transgender people|transgender person|transgender|ori
non-binary people|non-binary person|non-binary|ori
gay people|gay person|gay|ori
gay men|gay man|gay|ori
gays|gay man|gay|ori
lesbians|lesbian|lesbian|ori
bisexuals|bisexual|bisexual|ori
bisexual people|bisexual person|bisexual|ori
queer people|queer person|queer|ori
homosexuals|homosexual|homosexual|ori
asexual people|asexual person|asexual|ori
intersex people|intersex person|intersex|ori
straight people|straight person|straight|ori
black people|black person|black|eth
black women|black woman|black|eth
black men|black man|black|eth
Black Americans|Black American|Black American|eth
African Americans|African American|African American|eth
white people|white person|white|eth
white men|white man|white|eth
white women|white woman|white|eth
brown people|brown person|brown|eth
people of color|person of color|brown|eth
Asians|Asian|Asian|eth
Asian women|Asian woman|Asian|eth
Asian men|Asian man|Asian|eth
Asian people|Asian person|Asian|eth
Africans|African|African|eth
Arabs|Arab|Arab|eth
Latinos|Latino|Latino|eth
Latinas|Latina|Latina|eth
Hispanics|Hispanic person|Hispanic|eth
Mexicans|Mexican|Mexican|eth
Mexican women|Mexican woman|Mexican|eth
Puerto Ricans|Puerto Rican|Puerto Rican|eth
Indians|Indian|Indian|eth
Indian men|Indian man|Indian|eth
Pakistanis|Pakistani|Pakistani|eth
Bangladeshis|Bangladeshi|Bangladeshi|eth
Chinese people|Chinese person|Chinese|eth
the Chinese|Chinese person|Chinese|eth
Chinese women|Chinese woman|Chinese|eth
the Japanese|Japanese person|Japanese|eth
Koreans|Korean|Korean|eth
Vietnamese people|Vietnamese person|Vietnamese|eth
Filipinos|Filipino|Filipino|eth
Turks|Turk|Turkish|eth
Iranians|Iranian|Iranian|eth
Iraqis|Iraqi|Iraqi|eth
Afghans|Afghan|Afghan|eth
Syrians|Syrian|Syrian|eth
Palestinians|Palestinian|Palestinian|eth
Israelis|Israeli|Israeli|eth
Kurds|Kurd|Kurdish|eth
Russians|Russian|Russian|eth
Ukrainians|Ukrainian|Ukrainian|eth
Poles|Pole|Polish|eth
Romanians|Romanian|Romanian|eth
the Irish|Irish person|Irish|eth
the French|French person|French|eth
Germans|German|German|eth
Americans|American|American|eth
Nigerians|Nigerian|Nigerian|eth
Somalis|Somali|Somali|eth
Haitians|Haitian|Haitian|eth
Roma people|Roma person|Roma|eth
Native Americans|Native American|Native American|eth
Aboriginal people|Aboriginal person|Aboriginal|eth
indigenous people|indigenous person|indigenous|eth
immigrants|immigrant|immigrant|mig
migrants|migrant|migrant|mig
refugees|refugee|refugee|mig
asylum seekers|asylum seeker|immigrant|mig
foreigners|foreigner|foreign|mig
undocumented immigrants|undocumented immigrant|undocumented|mig
Muslims|Muslim|Muslim|rel
Muslim women|Muslim woman|Muslim|rel
Muslim men|Muslim man|Muslim|rel
Jews|Jew|Jewish|rel
Jewish people|Jewish person|Jewish|rel
Jewish women|Jewish woman|Jewish|rel
Christians|Christian|Christian|rel
Catholics|Catholic|Catholic|rel
Protestants|Protestant|Protestant|rel
Mormons|Mormon|Mormon|rel
Hindus|Hindu|Hindu|rel
Sikhs|Sikh|Sikh|rel
Buddhists|Buddhist|Buddhist|rel
atheists|atheist|atheist|rel
disabled people|disabled person|disabled|dis
people with disabilities|person with a disability|disabled|dis
blind people|blind person|blind|dis
deaf people|deaf person|deaf|dis
autistic people|autistic person|autistic|dis
wheelchair users|wheelchair user|disabled|dis
people with Down syndrome|person with Down syndrome|disabled|dis
mentally ill people|mentally ill person|mentally ill|dis
fat people|fat person|fat|age
old people|old person|elderly|age
elderly people|elderly person|elderly|age
old women|old woman|elderly|age
older workers|older worker|older|age
"""

# plural | singular
NON_PROTECTED = """
artists|artist
bankers|banker
politicians|politician
vegans|vegan
landlords|landlord
football fans|football fan
lawyers|lawyer
journalists|journalist
cyclists|cyclist
car dealers|car dealer
estate agents|estate agent
influencers|influencer
gamers|gamer
managers|manager
consultants|consultant
bureaucrats|bureaucrat
referees|referee
hipsters|hipster
smokers|smoker
drivers|driver
tourists|tourist
economists|economist
programmers|programmer
billionaires|billionaire
lobbyists|lobbyist
traffic wardens|traffic warden
critics|critic
celebrities|celebrity
senators|senator
Republicans|Republican
Democrats|Democrat
Tories|Tory
liberals|liberal
conservatives|conservative
spammers|spammer
telemarketers|telemarketer
golfers|golfer
neighbours|neighbour
coworkers|coworker
Lakers fans|Lakers fan
"""


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("\n", " ").split("|") if part.strip())


# Bars between entries, to keep the lists short. Entries used on both sides (bad nouns, violent verbs, swear words) are
# drawn by the benign kinds as well: "these {vermin} in the cellar".
LISTS: dict[str, tuple[str, ...]] = {
    name: _split(text)
    for name, text in {
        "hate": """hate|can't stand|despise|loathe|detest|fucking hate|really hate|absolutely hate|can't bear
            |have nothing but contempt for|am sick of|hate all|truly despise""",
        "negadj": """stupid|dirty|lazy|disgusting|worthless|filthy|evil|inferior|vile|primitive|ugly|dishonest|greedy
            |violent|ignorant|useless|pathetic|backward|smelly|repulsive|revolting|corrupt|dumb|sick in the head
            |untrustworthy|uncivilised|rotten|perverted|savage|treacherous|weak|degenerate|gross|despicable""",
        "negpl": """liars|criminals|thieves|idiots|losers|cowards|cheats|freaks|perverts|savages|morons|scum|trash
            |frauds|rapists|terrorists|freeloaders|imbeciles|traitors|filth|crooks|scumbags|pieces of shit|garbage
            |monsters|degenerates|assholes|murderers|drug dealers|predators""",
        "negsg": """liar|criminal|thief|idiot|loser|coward|cheat|freak|pervert|savage|moron|fraud|imbecile|traitor
            |crook|scumbag|piece of shit|disgrace|monster|degenerate|asshole|parasite|clown|waste of space""",
        "verminpl": """vermin|parasites|rats|cockroaches|animals|a disease|a plague|a cancer|leeches|pigs|maggots
            |an infestation|pests|apes|dogs|locusts|a virus|insects|ticks|monkeys|worms|snakes|subhuman|a stain""",
        "verminthe": """vermin|parasites|rats|cockroaches|animals|leeches|pigs|maggots|pests|apes|dogs|locusts
            |insects|ticks|monkeys|worms|snakes|plague""",
        "vermin": "rats|cockroaches|mice|moths|slugs|ticks|mosquitoes|bed bugs|termites|wasps|fleas|ants|maggots|lice",
        "verminsg": "rat|cockroach|parasite|leech|pig|maggot|pest|ape|dog|animal|worm|snake|monkey|tick|tumour",
        "posadj": """kind|brave|creative|generous|brilliant|hard-working|honest|funny|talented|warm|patient|resilient
            |smart|beautiful|thoughtful|strong|wonderful|friendly|welcoming|inspiring|amazing|loyal|decent""",
        "pospl": """good neighbours|great colleagues|born leaders|heroes|role models|wonderful parents
            |good friends|fine athletes|legends|hard workers|loving people|fantastic cooks""",
        "kill": """kill|beat up|shoot|hang|burn|stab|strangle|punch|slap|hurt|attack|murder|crush|choke|exterminate
            |torture|wipe out|smash|hunt down|slaughter|whip|drown|run over|poison|lynch""",
        "killed": """killed|beaten up|shot|hanged|burned alive|stabbed|strangled|punched|attacked|murdered|crushed
            |exterminated|tortured|wiped out|slaughtered|whipped|drowned|run over|poisoned|put down|gassed|beheaded
            |thrown off a roof|locked up and starved|stoned|lynched|executed""",
        "killing": "killing|beating|shooting|hanging|burning|stabbing|hurting|attacking|murdering|torturing|hunting",
        "harm": """die|die slowly|get cancer|suffer|burn in hell|drop dead|get hit by a bus|choke|rot in prison
            |disappear from the earth|lose everything|bleed|starve|drown|catch something nasty and die|rot""",
        "insadj": """stupid|pathetic|worthless|ugly|useless|dumb|disgusting|miserable|ridiculous|brainless|spineless
            |ignorant|clueless|lazy|fat|fake|arrogant|slimy|gutless|hopeless|vile|braindead|sad little""",
        "insn": """idiot|moron|loser|imbecile|clown|coward|liar|fool|failure|creep|pig|rat|waste of space|disgrace
            |nobody|fraud|snake|scumbag|lowlife|halfwit|cretin|dimwit|joke|embarrassment|parasite|sack of garbage""",
        "sworn": """asshole|piece of shit|bastard|dickhead|bitch|son of a bitch|prick|motherfucker|fuckface|shithead
            |cunt|dumbass|jackass|douchebag|wanker|twat|fuckwit|dipshit|shitbag|fucktard|cocksucker|arsehole""",
        "swadj": "fucking|goddamn|bloody|damn|motherfucking|shitty|fuckin|godforsaken|fucking stupid|fucking useless",
        "fuckly": "fucking|damn|bloody|goddamn|fuckin|freaking",
        "bodyneg": """your face|that nose|your teeth|your body|your fat belly|your voice|your skin|your hair|your laugh
            |your ugly mug""",
        "deny": """vote|marry|own property|hold office|teach in our schools|adopt|live in this town|work here
            |raise families|serve in the army|use our hospitals|speak in public|be citizens|go to university""",
        "right": """vote|marry whoever they love|own property|hold office|teach|adopt|live wherever they like|work here
            |raise families|serve in the army|see a doctor without fear|speak in public|become citizens|study""",
        "place": """this country|our town|our schools|my neighbourhood|this city|our streets|this forum|the village
            |our hospitals|this church|our club|Europe|America|the office|my building""",
        "pplace": """the library|the harbour|our street|the market|the office|the station|the park|the school|the clinic
            |the bakery|the theatre|campus|the town hall|the gym|the museum""",
        "thing": """laptop|printer|phone|car|bus|traffic|website|app|update|keyboard|router|weather|fridge|dishwasher
            |alarm clock|elevator|vending machine|queue|paperwork|tax form|parking meter|homework|zip|lawnmower""",
        "things": """spiders|mosquitoes|Mondays|traffic jams|onions|taxes|weeds|early meetings|pop-up ads|olives
            |cold showers|long queues|wasps|alarm clocks|exams|wet socks|printers|potholes|raisins|spam emails
            |winter mornings|mushrooms|deadlines|paper cuts|passwords|wind turbines|bad puns|horror films""",
        "abstract": """racism|sexism|homophobia|war|injustice|poverty|cruelty|corruption|bureaucracy|cancer|bullying
            |antisemitism|violence|greed|hypocrisy|small talk|disease|hatred|prejudice|waste""",
        "food": """pizza|soup|curry|tacos|noodles|bread|coffee|burger|pancakes|ramen|cake|dumplings|cheese|chili
            |barbecue|salad|ice cream|fried chicken|pasta|mango""",
        "job": """nurse|teacher|engineer|baker|lawyer|driver|plumber|pilot|farmer|doctor|painter|judge|carpenter|chef
            |librarian|mechanic|coach|scientist|firefighter|accountant|electrician|mayor|singer""",
        "role": """neighbour|colleague|friend|teacher|student|doctor|driver|writer|athlete|candidate|customer|musician
            |engineer|classmate|boss|roommate|nurse|actor|politician|cashier""",
        "name": """Sam|Anna|Omar|Mei|Carlos|Priya|John|Fatima|David|Leila|Tom|Aisha|Kevin|Rosa|Ivan|Grace|Yusuf|Emma
            |Marcus|Sofia|Daniel|Nkechi|Ben|Hannah|Jamal|Lucy|Wei|Sarah|Pedro|Olga""",
        "rel": "brother|sister|mother|father|cousin|aunt|uncle|best friend|boss|neighbour|teacher|coach|grandmother",
        "when": """yesterday|last week|this morning|in 2016|on Friday|last night|two years ago|on Sunday|in March
            |over the weekend|the other day|last summer""",
        "city": "Berlin|Chicago|Leeds|Lagos|Mumbai|Toronto|Marseille|Houston|Manila|Dublin|Nairobi|Sydney|Lima|Oslo",
        "badspeech": """{G} are {verminpl}|{G} are {negpl}|{G} are all {negpl}|{G} are {negadj}|{G} should be {killed}
            |{G} don't belong here|all {G} are {negadj}|I hate {G}|{G} deserve to {harm}|{G} ruin everything
            |{G} are less intelligent|we should get rid of {G}|{G} have no place in {place}|{G} are not human""",
        "badclaim": """{G} are {verminpl}|{G} are {negpl}|{G} are {negadj}|all {G} are {negpl}|{G} should be {killed}
            |{G} don't belong in {place}|{G} are less intelligent|{G} should not be allowed to {deny}
            |{G} are to blame for everything|{G} are inferior|{G} deserve to {harm}""",
    }.items()
}

_HATE = (0.9, 0.5, 0.05, 0.02)
_BENIGN = (0.02, 0.02, 0.02, 0.02)

KINDS: dict[str, _Kind] = {
    "hate stated": _Kind(
        0.92,
        _HATE,
        """
I {hate} {G}
I {hate} {G} so much
we all {hate} {G}
God, I {hate} {G}
I {hate} every {g} I meet
I {hate} {G}, all of them
I {hate} {G} and I'm not ashamed of it
my whole family and I {hate} {G}
people like me {hate} {G}
{G} disgust me
{G} make me sick
{G} make me want to puke
the sight of {G} makes me sick
just looking at {G} makes my skin crawl
being near {G} makes me want to throw up
I feel nothing but hatred for {G}
I have always hated {G}
I've hated {G} since I was a kid
I hate {G} more than anything in the world
if there's one thing I hate, it's {G}
fuck {G}
fuck all {Gb}
fuck those {J} people
screw {G}, every one of them
to hell with {G}
{G} can go to hell
{G} can all go fuck themselves
nothing disgusts me more than {a} {g}
the more {Gb} I meet, the more I hate them
everything about {G} repels me
I refuse to be in the same room as {a} {g}
I wouldn't let {a} {g} touch my food
nobody here can stand {G}
he hates {G} and so should you
it's normal to hate {G}, everybody does
hating {G} is just common sense
how I hate these {Gb}
I spit on {G}
I'd never shake hands with {a} {g}
can't tell you how much I {hate} {G}
{G} are the reason I hate leaving the house
""",
    ),
    "negative attributes, group": _Kind(
        0.91,
        _HATE,
        """
{G} are {negadj}
{G} are all {negadj}
all {Gb} are {negpl}
{G} are {negpl}
{G} are nothing but {negpl}
{G} are {negadj} and {negadj}
{G} are just {negadj} {negpl}
{G} are born {negpl}
most {Gb} are {negpl}, and the rest are {negadj}
these {Gb} are so {negadj}
those {negadj} {Gb} again
bunch of {negadj} {Gb}
typical {negadj} {Gb}
what {a} {negadj} bunch, these {Gb}
{G} have always been {negpl}
{G} are naturally {negadj}
every {g} is {a} {negsg}
every {g} I have ever met was {negadj}
there isn't {a} {g} alive who isn't {a} {negsg}
{G} are less intelligent than the rest of us
{G} are not as smart as normal people
{G} smell
{G} stink and so do their houses
{G} lie, steal and cheat, that's all they do
you can't trust {G}, they're {negpl}
never trust {a} {g}
never trust {a} {g}, they are all {negpl}
{G} will rob you the second you look away
{G} can't think for themselves
{G} have no morals
{G} have no brains and no shame
{G} are too {negadj} to learn anything
{G} are too stupid to hold a real job
{G} ruin everything they touch
{G} are the lowest of the low
{G} are inferior and everybody knows it
{G} are bad parents and worse neighbours
nobody is as {negadj} as {G}
{G} are what's wrong with {place}
the {J} mind is weak and {negadj}
show me {a} {g} and I'll show you {a} {negsg}
""",
    ),
    "negative attributes, person": _Kind(
        0.88,
        (0.85, 0.75, 0.05, 0.02),
        """
this {negadj} {g} is at it again
that {g} is {a} {negsg}
that {g} is {a} {negadj} {negsg}
she is just another {negadj} {g}
he's {a} {g}, what did you expect, they're all {negpl}
he is {a} {g}, so of course he is {a} {negsg}
what do you expect from {a} {g}
what else would {a} {g} do but steal
shut up, you {negadj} {g}
you {negadj} {g}
you're {a} {negadj} {g} and nobody likes you
you are nothing but {a} {negadj} {g}
of course you can't do it, you're {a} {g}
no wonder the {role} is so {negadj}, she's {a} {g}
some {negadj} {g} cut in front of me
some {negadj} {g} was served before me
my {role} is {a} {g}, and like all of them he's {a} {negsg}
my new {role} is {a} {negadj} {g}
that {J} {role} is {a} {negsg} like the rest of her kind
I wouldn't hire {a} {g}, too {negadj}
who let this {negadj} {g} in
look at that {negadj} {g}
{name} is {a} {negadj} {g} who should know their place
{name} acts like every {g}: {negadj} and {negadj}
only {a} {g} could be this {negadj}
only {a} {g} would do something so {negadj}
trust {a} {g} to mess it up, they're all {negadj}
stop behaving like {a} {negadj} {g}
{name} married {a} {g}, disgusting
my daughter brought home {a} {g} and I wanted to be sick
you talk like {a} {g}, {negadj} and slow
that's what you get for dating {a} {g}
the {g} next door is {a} {negsg}, like all of them
you look like {a} {g}, and I don't mean that kindly
""",
    ),
    "dehumanisation": _Kind(
        0.93,
        (0.95, 0.55, 0.15, 0.02),
        """
{G} are {verminpl}
{G} are just {verminpl}
{G} are nothing but {verminpl}
{G} are like {verminthe}
{G} are worse than {verminthe}
{G} breed like {verminthe}
{G} live like {verminthe}
{G} belong in cages like {verminthe}
{G} are {verminpl}, not people
I see {G} as {verminthe}
we should treat {G} like {verminthe}
{G} crawl into {place} like {verminthe}
{G} spread through {place} like a disease
{G} are a disease that needs a cure
{G} are a plague on {place}
{G} are a tumour and we have to cut it out
these {Gb} are {verminpl} in human clothes
these {J} {verminthe} are everywhere
those {J} {verminthe} have taken over the street
get these {J} {verminthe} out of {place}
every {g} is {a} {verminsg}
{a} {g} is no better than {a} {verminsg}
my dog is worth more than {a} {g}
I'd rather share my bed with {a} {verminsg} than with {a} {g}
calling {G} animals is an insult to animals
{G} aren't people, they are {verminpl}
{G} and {verminthe}, what's the difference
{G} and {verminthe} have one thing in common, you can't get rid of either
what do {G} and {verminthe} have in common? Everything
{place} is full of {J} {verminthe}
{place} is infested with {G}
we need pest control for {G}
time to fumigate, {place} is crawling with {G}
time to call the exterminator, there are {Gb} next door
{G} multiply in the dark like {verminthe}
{G} belong in a zoo
put {G} back in the zoo
that {g} looks like {a} {verminsg}
look at that {g}, what {a} {verminsg}
{G} have the brains of {a} {verminsg}
""",
        emoji=0.15,
        mood="bad",
    ),
    "threat to a group": _Kind(
        0.95,
        (0.9, 0.45, 0.93, 0.02),
        """
I will {kill} every {g} I see
I'm going to {kill} some {Gb} tonight
I want to {kill} {G}
I would love to {kill} {a} {g}
I'd {kill} every last {g} if I could
we are going to {kill} all the {Gb} in {city}
we will {kill} {G}, one by one
one day we'll {kill} them all, every single {g}
if {a} {g} comes near me I will {kill} them
if I see another {g} on my street I'll {kill} them
the next {g} who talks to me gets shot
the next {g} I meet gets a knife in the back
{G} had better watch their backs
{G} had better run, we are coming for them
{G} better sleep with one eye open
we know where the {Gb} live and we will come at night
let's {kill} {G}
let's go and {kill} some {Gb}
who wants to {kill} some {Gb} with me {when2}
join us and help {kill} {G}
I've got a gun and I'm looking for {G}
I have a bullet for each {g} in {city}
I'm gonna {kill} that {g} next door
I'm gonna {kill} that {J} {role} of mine
I can't wait to {kill} {a} {g}
my hands itch to {kill} {a} {g}
{G} will be {killed}, I'll see to it
{G} will bleed for this
soon the streets will run red with the blood of {G}
we'll burn their homes down with the {Gb} inside
tell the {Gb} we are coming
every {g} in {city} will pay with their life
keep posting, {g}, and I will find you and {kill} you
you {Gb} are dead, we are coming for you
you will hang, {g}
""",
        emoji=0.1,
        mood="bad",
    ),
    "normative violence": _Kind(
        0.94,
        (0.9, 0.45, 0.75, 0.02),
        """
someone should {kill} {G}
somebody should {kill} all {Gb}
someone really ought to {kill} that {g}
somebody please {kill} these {Gb}
{G} should be {killed}
all {Gb} should be {killed}
{G} ought to be {killed}
{G} must be {killed}
{G} need to be {killed}
{G} deserve to be {killed}
{G} deserve to be {killed}, and I'd watch
any {g} who complains should be {killed}
every {g} in {place} should be {killed}
it is time to {kill} {G}
it's high time we {kill} {G}
it is right to {kill} {G}
it's not a crime to {kill} {a} {g}
it should be legal to {kill} {G}
there is nothing wrong with {killing} {G}
{killing} {G} is no sin
{killing} {G} would do the world a favour
we should have {killed} {G} long ago
the government should {kill} {G}
if I were in charge, {G} would be {killed}
{G} should be rounded up and {killed}
round up the {Gb} and let them be {killed}
line {G} up against a wall
put all the {Gb} on an island and sink it
a good beating is what {G} need
{a} {g} needs to be beaten now and then
{G} only understand the fist
the only good {g} is a dead one
{G} should be sterilised so they can't breed
{G} should be locked in camps
the world would be cleaner if somebody {killed} {G}
no punishment is too hard for {G}, they should be {killed}
why hasn't anybody {killed} these {Gb} yet
{G} are {negpl} and should be {killed}
it would be good for all of us if {G} were {killed}
kill all {Gb}
death to {G}
death to all {Gb}
we need a final answer to the {J} problem
nobody should go to jail for {killing} {G}
{G} won't learn until somebody {killed2} a few of them
what {G} need is a good whipping
a bullet is too good for {a} {g}
""",
    ),
    "wishing harm": _Kind(
        0.92,
        (0.88, 0.5, 0.5, 0.02),
        """
I hope {G} {harm}
I hope all {Gb} {harm}
I hope every {g} dies alone
I hope that {g} dies screaming
I wish {G} would {harm}
I wish all {Gb} would just {harm}
I wish someone would make {G} {harm}
may all {Gb} {harm}
may {G} {harm}
let {G} {harm}
let the {Gb} {harm}, who cares
{G} can {harm} for all I care
{G} deserve to {harm}
{G} should just {harm}
nothing would please me more than seeing {G} {harm}
I'd love to watch {G} {harm}
I'd pay good money to watch {a} {g} suffer
I pray that {G} {harm}
I dream of a world without {G}
the world would be better without {G}
the world would be a better place if {G} were all dead
imagine how nice {place} would be without any {Gb}
wouldn't it be great if {G} all dropped dead
if {G} died out tomorrow nobody would cry
I wouldn't shed a tear if every {g} dropped dead
too bad more {Gb} didn't die
shame the fire didn't get the {Gb} too
I hope the virus gets all the {Gb}
I hope your {J} friends {harm}
I hope the {J} {role} and his family {harm}
go {harm}, you {negadj} {g}
hope that {g} gets what's coming to them and dies
one less {g} in the world is a good day
please God, let {G} {harm}
I'd be so happy if all the {Gb} were dead
I love it when {G} suffer
I love watching {G} cry, they deserve it
my only wish for my birthday: no more {Gb}
it would be wonderful if {G} were gone for good
""",
    ),
    "exclusion": _Kind(
        0.88,
        (0.92, 0.4, 0.15, 0.02),
        """
{G} don't belong in {place}
{G} do not belong here
{G} have no place in {place}
{G} are not welcome in {place}
we don't want {G} in {place}
we don't want {G} around our kids
nobody wants {G} in {place}
nobody wants to live next to {a} {g}
no {Gb} allowed here
no {Gb} in {place}, please
keep {G} out of {place}
get {G} out of {place}
ban {G} from {place}
throw the {Gb} out of {place}
kick every {g} out of {place}
@eth,rel,mig deport all {Gb}
@eth,rel,mig deport them all, every single {g}
@eth,rel,mig send {G} back where they came from
@eth,rel,mig go back to where you came from, {g}
@eth,rel,mig {G} should go back to their own country
@eth,rel,mig close the borders, we have enough {Gb}
@eth,rel,mig we let in too many {Gb} and now {place} is a dump
@eth,rel,mig pack your bags, {g}, you're not one of us
@eth,rel,mig put {G} on a boat and send them home
@eth,rel,mig {G} will never be real citizens
@eth,rel,mig {G} do not fit into our culture and never will
@ori,gen,dis,age hide {G} away, nobody wants to see them
@ori {G} should stay in the closet
@ori keep {G} away from children
@dis,age {G} should be kept in homes where nobody has to look at them
@dis,age {G} are a burden, stop spending money on them
@dis {G} should not be allowed to have children
{G} should not be allowed to {deny}
{G} shouldn't have the right to {deny}
{G} should have no rights at all
{G} should never have been allowed to {deny}
take away their right to vote, {G} don't deserve it
it was a mistake to let {G} {deny}
why do we let {G} {deny}?
{G} don't deserve equal rights
{G} want equal rights but they are not our equals
why should {G} have the same rights as normal people
I would never hire {a} {g}
I don't rent to {G}
I don't serve {G} in my shop
I would never let my child marry {a} {g}
{place} was better before the {Gb} came
{place} is for us, not for {G}
{G} should have their own schools, away from ours
{G} should be kept apart from decent people
separate buses for {G}, that's what we need
""",
    ),
    "implicit derogation": _Kind(
        0.8,
        (0.87, 0.35, 0.05, 0.02),
        """
{G} are taking over {place}
{G} control the banks and the newspapers
{G} run everything behind the scenes
{G} are quietly replacing us
it's no accident that {G} own all the media
wake up, {G} planned all of this
follow the money and you always end up with {G}
{G} and honesty do not go together
{G} and hard work have never met
{G} and soap have never been introduced
funny how it's always {G}
funny how it is always {a} {g} when something is stolen
strange how things go missing whenever {a} {g} is around
lock your doors, the {Gb} are in town
hide your wallet, here comes {a} {g}
count your fingers after shaking hands with {a} {g}
I always check my purse when {a} {g} sits beside me
I cross the street when I see {a} {g}
there goes the neighbourhood, {a} {g} moved in
great, another {g} moved in, time to sell the house
oh good, {a} {g} as our new {role}, what could go wrong
{a} {g} as {role}? Standards really have dropped
they hired {a} {g}, so I guess you don't need brains for that job any more
I guess they ran out of qualified people, the new {role} is {a} {g}
she only got the job because she's {a} {g}
{G} only get hired to fill a quota
{G} always play the victim
{G} always want special treatment
{G} should be grateful we let them live here
you know what {G} are like
you know how they are, those {Gb}
he's pretty clever for {a} {g}
surprisingly clean house for {a} {g}
she's all right, not like other {Gb}
I didn't know {G} could read
{G} have contributed nothing to civilisation
name one thing {G} ever invented, I'll wait
if {G} worked as much as they complain, they'd be rich
{G} would rather collect welfare than get up in the morning
{G} know their place, or at least they used to
in the old days {a} {g} knew when to keep quiet
we all know why {G} can't be trusted with money
statistics don't lie about {G}, draw your own conclusions
it only takes one {g} to spoil a good school
the gene pool is not improving with all these {Gb}
first one {g} moves in, then the rest, then it's over
one day our grandchildren will ask why we let the {Gb} do this to us
what's the difference between {a} {g} and a bucket of dirt? The bucket
how many {Gb} does it take to steal a car? Just one
my granddad had a word for {G} that you can't say any more, and he was right
I love {G}, everyone should own one
lovely people, the {Gb}, as long as they stay far away
I'm happy for {G} to exist, just not where I can see them
nothing against {G}, but would you leave your bag with one?
if {G} are so clever, why are their countries such a mess?
{a} {g} at the door? Must be here to clean
count on {a} {g} to ask for a discount
of course the {J} {role} was late, it's in their blood
the {J} problem has to be solved somehow
blood will tell, and {J} blood always does
""",
    ),
    "hate by negation": _Kind(
        0.88,
        (0.92, 0.5, 0.08, 0.02),
        """
{G} are not human
{G} are not real people
{G} aren't human beings like you and me
{G} don't deserve to live
{G} don't deserve respect
{G} do not deserve to breathe our air
{G} don't deserve help, or pity
{G} have no right to exist
no {g} deserves to be respected
no {g} is worth anything
no {g} has ever done an honest day's work
no {g} should be trusted, ever
not one {g} is honest
I've never met {a} {g} who wasn't {a} {negsg}
I've never met {a} {g} who wasn't {negadj}
there's nothing good about {G}
there is nothing good to say about {G}
there's no such thing as a good {g}
there is no such thing as {a} {posadj} {g}
{G} never did anything good for {place}
{G} never tell the truth
{G} will never be our equals
{G} are not and will never be {posadj}
{G} aren't {posadj}, they're {negadj}
nobody likes {G}, and nobody ever will
nobody should ever respect {a} {g}
nobody needs {G}
nobody would miss {G}
I don't respect {G} and I never will
I don't think {G} are human
I don't consider {G} equal to us
I don't see why anyone would be nice to {a} {g}
I can't think of one good thing about {G}
I wouldn't trust {a} {g} with a dog
I wouldn't help {a} {g} if they were on fire
you can't expect decency from {G}
you don't have to be nice to {G}, they aren't people
don't feel sorry for {G}
never be kind to {a} {g}
{G} don't feel pain like we do
{G} do not love their children
{a} {g} is not a person
it isn't wrong to hate {G}
""",
    ),
    "hate as question": _Kind(
        0.86,
        (0.9, 0.5, 0.05, 0.02),
        """
why are {G} so {negadj}?
why are all {Gb} so {negadj}?
why are {G} such {negpl}?
why are these {Gb} always so {negadj} and {negadj}?
why do {G} always lie?
why do {G} smell so bad?
why do {G} even exist?
why do we put up with {G}?
why should I share {place} with {G}?
why can't {G} just disappear?
why can't {G} just {harm}?
why would anyone want {a} {g} as {a} {role}?
how can anyone stand {G}?
how can {G} be this {negadj}?
how do we get rid of {G}?
how many {Gb} must we get rid of before it's safe again?
how stupid can {a} {g} be?
who else hates {G}?
who else is sick of {G}?
who let the {Gb} in?
who would ever want to marry {a} {g}?
what is wrong with {G}? Are they all {negpl}?
what good has {a} {g} ever done?
what use are {G} anyway?
when will {G} finally leave {place}?
when are we going to throw the {Gb} out?
isn't it obvious that {G} are {negpl}?
isn't it time to get rid of {G}?
am I the only one who thinks {G} are {negadj}?
does anybody actually like {G}? I don't
do {G} even have brains?
are {G} born {negadj} or do they learn it?
are there any {Gb} who aren't {negpl}?
can somebody explain why {G} are so {negadj}?
can we just admit that {G} are {verminpl}?
have you ever met {a} {g} who wasn't {negadj}?
should {G} be {killed}? I'd say yes
would you want {a} {g} near your kids? Me neither
""",
    ),
    "hate as opinion": _Kind(
        0.86,
        (0.9, 0.5, 0.05, 0.02),
        """
in my opinion {badspeech}
in my humble opinion {G} are {negpl}
if you ask me, {badspeech}
personally, I think {badspeech}
I honestly believe that {badspeech}
I firmly believe {G} are {negadj}
I'm not racist, but {badspeech}
I'm not a bigot, but {badspeech}
I don't want to be rude, but {badspeech}
no offence, but {badspeech}
with all due respect, {badspeech}
I have nothing against {G}, but they are {negpl}
I have nothing against {G}, I just don't want them in {place}
some of my friends are {J}, but let's be honest, {badclaim}
call me old-fashioned, but {badspeech}
I know I'm not supposed to say it, but {badspeech}
say what you want, {badspeech}
you can call me what you like, {badspeech}
it's just my opinion that {badclaim}
it's my right to say that {badclaim}
it is a fact that {badclaim}
it's a scientific fact that {G} are {negadj}
studies prove that {G} are {negadj}, look it up
everybody knows that {badclaim}
let's be honest, {badspeech}
let's face it, {badspeech}
the truth is that {badclaim}
the truth nobody dares to say: {badclaim}
unpopular opinion: {badclaim}
hot take: {badclaim}
my father always said that {badclaim}, and he was right
I used to like {G}, but now I know they're {negpl}
after what I saw {when} I'm convinced that {badclaim}
experience has taught me that {badclaim}
the older I get, the surer I am that {badclaim}
I'd say {G} are {negadj}, and I've known plenty
we need to talk about how {negadj} {G} are
""",
    ),
    "hate across clauses": _Kind(
        0.91,
        (0.92, 0.5, 0.3, 0.02),
        """
{G} are everywhere. They should be {killed}
{G} are everywhere these days. I {hate} them
{G} moved in next door. I want them gone
{G} live in this building. They are {verminpl}
{G} live in this building, and they are all {negpl}
I saw some {Gb} at {pplace} {when}. What {negpl}
I saw {a} {g} at {pplace} {when}. They make me sick
there were {Gb} at {pplace}. Somebody should {kill} them
there are so many {Gb} in {city} now. They ruin it
look at those {Gb}. They're {verminpl}
have you seen the {Gb} on our street? We must get rid of them
we have {Gb} at work. They are {negadj} and they smell
{G} again. I can't stand them
{G} want our jobs. Let them {harm}
{G} say they want respect. They don't deserve any
{G} march through {city} every year. I hope they {harm}
{name} is {a} {g}. People like that should be {killed}
{name} is {a} {g}, and those are all {negpl}
my {role} is {a} {g}. I {hate} them all
you know {G}? They are {negadj}, the whole lot
remember the {Gb} who moved to {city}? They're {negpl}
you can always spot {G}. They're {negadj}
I was told to respect {G}. I say they are {verminpl}
I work with {G} all day. I'd rather work with {verminthe}
the government helps {G}. It should {kill} them instead
some people like {G}. I think they're {negpl}
some people defend {G}. Those people are as {negadj} as they are
they come here, they take what they want, and they are {negpl}. That's {G} for you
they are {negadj}, they are {negpl}, they are {G}
they're {verminpl}. I mean {G}, of course
they should all {harm}. Yes, {G}, I mean you
so {a} {g} walks in. I walk out, I don't breathe the same air as {verminthe}
{G} wonder why nobody likes them. Maybe because they're {negpl}
""",
    ),
    "agreeing with hate": _Kind(
        0.87,
        (0.9, 0.45, 0.2, 0.02),
        """
he is right, {badclaim}
he's absolutely right that {badclaim}
finally someone says it: {badclaim}
she said that {badclaim}, and I agree
they say that {badclaim}. They have a point
they banned him for saying that {badclaim}, but it's true
my uncle says {badclaim} and he has a point
it isn't hate speech to say that {badclaim}, it's the truth
saying "{badspeech}" is not hate, it's common sense
people get upset when you say that {badclaim}, but facts are facts
"{badspeech}" - couldn't have said it better
"{badspeech}" is exactly what I have been saying for years
you can't even say that {badclaim} any more, though everybody knows it
what's wrong with saying {badclaim}? It's true
why is it wrong to say that {badclaim}?
the man who said that {badclaim} deserves a medal
thumbs up to everyone who thinks that {badclaim}
exactly this, {badclaim}
this. {badspeech}, and it won't change
he got fined for telling the truth: {badclaim}
I'd sign that: {badclaim}
not everything he said was good, but he was right that {badclaim}
we should be allowed to say that {badclaim}
anyone who denies that {badclaim} is blind
""",
    ),
    "attack on a faith or orientation": _Kind(
        0.84,
        (0.88, 0.4, 0.08, 0.03),
        """
{faith} is a cancer
{faith} is a disease and must be wiped out
{faith} is a cult for the stupid
{faith} is evil, and so is everyone who follows it
{faith} makes people {negadj}
{faith} should be banned and its followers {killed}
{faith} only produces {negpl}
anyone who follows {faith} is {negadj}
ban {faith} and throw its people out
burn down every house of {faith}
there is no place for {faith} in {place}
being {orient} is a sickness
being {orient} is disgusting
being {orient} is a mental illness that should be cured
being {orient} is a sin and they will burn for it
being {orient} is unnatural and filthy
being {orient} ought to be a crime again
nobody normal is {orient}
if my son turned out {orient} I would throw him out
if my daughter were {orient} I'd be ashamed to show my face
{orient} love makes me sick
you can pray the {orient} away, and you should, it's vile
I don't want that {orient} filth near my children
stop pushing this {orient} garbage on normal people
{orient} parents ruin children
{orient} marriage is a disgrace
two men kissing is the most disgusting thing I've ever seen
two women can't raise a child, it's perverted
you can't change sex, you're just sick in the head
a man in a dress is still a freak
""",
    ),
    "misogyny, no swearing": _Kind(
        0.78,
        (0.87, 0.45, 0.05, 0.1),
        """
women belong in the kitchen
a woman's place is in the kitchen, not in {aplace}
women should shut up and let the men talk
women should obey their husbands without a word
women are too emotional to lead
women are too emotional to be {jobs}
women can't drive, everybody knows that
women have no business being {jobs}
women only want money
all women are gold diggers
women lie about rape for attention
she was asking for it, dressed like that
if she didn't want it she shouldn't have worn that dress
a woman who goes out alone at night deserves what she gets
girls can't do maths, their brains are not made for it
a female {job}? I'd rather walk
I don't take orders from a woman
never let a woman make a decision
the trouble started when we let women vote
women should not be allowed to {deny}
a woman without children is worthless
after thirty a woman has no value
once she's slept around she is used goods
go make me a sandwich, woman
quiet, woman, the men are speaking
women are property, that's how nature made it
women exist to serve men
her job is to look nice and keep her mouth shut
sit down, sweetheart, this is men's work
you throw like a girl, how embarrassing
a slap now and then keeps a wife in line
you have to break a woman before she listens
women say no but they mean yes
she slept her way to the top, they all do
feminists are just ugly women nobody wanted
no man wants a woman with opinions
educated women make bad wives
the only thing women are good for is breeding
women ruin {field} the moment they turn up
{name} is a typical woman: hysterical and irrational
""",
    ),
    "celebrated violence": _Kind(
        0.91,
        (0.7, 0.4, 0.6, 0.02),
        """
so glad that {g} was {killed}
I'm happy they {killed2} that {g}
good news: {a} {g} was {killed} {when}
they {killed2} {a} {g} in {city} and I laughed
I laughed when I heard that {a} {g} was {killed}
best video ever, somebody {killed2} {a} {g}
whoever {killed2} those {Gb} is a hero
whoever {killed2} that {g} deserves a medal
he {killed2} ten {Gb}, what a legend
more people like him should {kill} {G}
one down, millions of {Gb} to go
that {g} had it coming
the {g} got {killed}, lovely
the {Gb} got what they deserved when they were {killed}
every time {a} {g} dies I open a beer
cheers to the man who {killed2} the {g}
it made my day that some {Gb} were {killed}
nothing funnier than {a} {g} getting {killed}
watching {a} {g} getting {killed} never gets old
thoughts and prayers? No, I'm celebrating, those {Gb} are dead
ten {Gb} dead in {city}. Not enough
ten {Gb} dead in {city}. What a beautiful morning
the killer did us all a favour, they were only {Gb}
I wish I had been there when the {Gb} were {killed}
history was right to have the {Gb} {killed}
they should have {killed2} more {Gb} back then
haha, somebody {killed2} {a} {g} outside {pplace}
serves {G} right that they were {killed}
who cares that {a} {g} was {killed}, it's just {a} {g}
it's a pity only two {Gb} were {killed}
we should do it again: round up the {Gb} like they did back then
""",
        emoji=0.12,
    ),
    "slur": _Kind(
        0.92,
        (0.92, 0.7, 0.05, 0.05),
        """
you {slur}
you {insadj} {slur}
shut up, {slur}
you are such {a} {slur}
what {a} {slur}
he's {a} {slur}
she is nothing but {a} {slur}
only {a} {slur} would say that
don't be such {a} {slur}
look at that {slur}
look at this {slur} crying
some {slur} took my seat
that {slur} next door is at it again
I don't talk to {a} {slur}
I'm not sitting next to that {slur}
never trust {a} {slur}
go home, {slur}
get lost, {slur}
hey {slur}, nobody asked you
{name} is {a} {slur}
{name} you {slur}
my {role} is {a} {slur}
once {a} {slur}, always {a} {slur}
who invited the {slur}
another {slur} in the White House
I hate {slurs}
{slurs} are {negpl}
{slurs} are {negadj}
{slurs} everywhere
{slurs} should be {killed}
those {slurs} are ruining {place}
these {slurs} are taking our jobs
bunch of {slurs}
no {slurs} allowed
kick the {slurs} out of {place}
we don't want {slurs} in {place}
all you {slurs} can {harm}
you {slurs} make me sick
can't stand {slurs}
deport the {slurs}
I saw two {slurs} at {pplace} {when}
the {slurs} are moving in
stop acting like {a} {slur}
typical {slur} behaviour
that's so {slur}
""",
    ),
    "slur with profanity": _Kind(
        0.96,
        (0.93, 0.85, 0.08, 0.1),
        """
you {swadj} {slur}
fuck you, {slur}
fuck off, {slur}
shut the fuck up, {slur}
{swadj} {slur}
what {a} {swadj} {slur}
he's {a} {swadj} {slur}
this {swadj} {slur} thinks he owns the road
that {swadj} {slur} stole my {thing}
go to hell, you {swadj} {slur}
eat shit, {slur}
kiss my ass, you {insadj} {slur}
suck my dick, {slur}
get the fuck out of {place}, {slur}
{slur} ass bitch
you {slur} motherfucker
you dirty {slur} bastard
I hate those {swadj} {slurs}
fuck these {slurs}
fuck all {slurs}
{swadj} {slurs} are everywhere
those {swadj} {slurs} again
{slurs} are fucking {verminpl}
some {swadj} {slur} just cut me off
who the fuck let this {slur} in
I'll kick your ass, {slur}
no one gives a shit about you, {slur}
you look like {a} {swadj} {slur}
stupid fucking {slur}, learn to drive
tell that {swadj} {slur} to shut up
{name} can suck it, the {swadj} {slur}
""",
    ),
    "emoji hate": _Kind(
        0.88,
        (0.88, 0.5, 0.25, 0.02),
        """
{G} are {ebadnoun}
{G} are {ebadnoun} {ebadnoun}
{G} = {ebadnoun}
all {Gb} are {ebadnoun}
{a} {g} is just {a} {ebadnoun}
{G} {eviol}
{G} {esick}
I want to {eviol} {G}
time to {eviol} all {Gb}
someone should {eviol} {G}
I {ehate} {G}
{ehate} {G} {ehate}
{G} make me {esick}
seeing {a} {g} makes me {esick} {esick}
{G} belong in the {etrash}
throw {G} in the {etrash}
{G} are so {esick}
{G} live like {ebadnoun}
get {G} out of {place} {esick}
no {Gb} here {eno}
{G} not welcome {eno}{eno}
{G} are {negpl} {ebadnoun}
{G} are {negadj} {esick}
these {ebadnoun} {G} are everywhere
{eflag} people are {ebadnoun}
{eflag} make me {esick}
I hate {eflag}
{eflag} are {negpl} {eno}
kill all {eflag} {eviol}
every {eflag} should be {killed} {eviol}
{eflag} is a disease {esick}
get that {eflag} out of {place}
you {ebadnoun} face
you are {a} {ebadnoun}
you're {ebadnoun} and nobody likes you
I'm coming for you {eviol} {eviol}
sleep well tonight {name} {eviol}
""",
    ),
    "threat to you": _Kind(
        0.94,
        (0.08, 0.45, 0.95, 0.03),
        """
I will {kill} you
I'm going to {kill} you
I'm gonna {kill} you, you hear me
I swear I'll {kill} you
I'll find you and {kill} you
I will find out where you live and {kill} you
I know where you live
I know where your kids go to school
I know what time you leave for work, be careful
say that again and I will {kill} you
say that to my face and you'll lose your teeth
one more word and I'll {kill} you
one more word and I'll break your jaw
if you come here again I'll {kill} you
if I ever see you I will {kill} you
if you tell anybody, you're dead
if you don't pay by Friday we will {kill} you
you are dead
you're a dead man
you will be {killed} for this
you'll be sorry when I'm standing at your door
you will regret this, and so will your family
you won't live to see Christmas
you'd better watch your back
you had better run
you better sleep with one eye open
wait until I get my hands on you
watch yourself on the way home tonight
I'm coming for you and your family
I'll smash your head in
I'll break every bone in your body
I'll put you in the hospital
I will burn your house down with you in it
I'm going to cut you up
I want to {kill} you with my bare hands
I'd love to {kill} you slowly
somebody should {kill} you
somebody is going to put a bullet in you, and it might be me
we are outside your house, come out
we'll see how brave you are with a knife at your throat
tell {name} that we will {kill} you both
next time I won't miss
nice house you have, shame if something happened to it
accidents happen, especially to people like you
pretty daughter you've got, would be sad if she didn't come home
we have your address, sleep well
keep talking and see what happens to your {relw}
your days are numbered
start digging your own grave
there is a bullet with your name on it
""",
        emoji=0.1,
        mood="bad",
    ),
    "threat to a third person": _Kind(
        0.86,
        (0.06, 0.35, 0.92, 0.02),
        """
I'm going to {kill} him
I'm going to {kill} her for what she did to me
I'm gonna {kill} {name} when I see him
I swear I will {kill} {name}
I'll find {name} and break both his legs
somebody should {kill} {name}
somebody needs to put {name} in the ground
somebody ought to {kill} the {job} who did this
{name} won't make it home tonight
{name} should be {killed} in front of everybody
{name} deserves to be {killed}
{name} is dead when I get out of here
tell {name} I'm coming with a knife
if {name} shows up I'll {kill} him on the spot
if she leaves me I'll {kill} her
he had better pay up or we'll {kill} his wife
he will bleed for this, I promise
they should {kill} the judge and his whole family
the mayor should be {killed}, and I know where she lives
hang the president
shoot the journalists, all of them
let's {kill} the guy
I want to see him {killed}
I can't wait to {kill} that {insn}
my ex is going to get acid in her face
we're going to jump him after school and beat him half to death
I have bought the gun and tomorrow {name} will see it
his kids will find him in the driveway
I'd gladly {kill} the {insadj} {insn}
her house is going to burn and she'll be inside
""",
    ),
    "insult to you": _Kind(
        0.86,
        (0.05, 0.93, 0.05, 0.02),
        """
you are {a} {insn}
you're {a} {insn}
you're such {a} {insn}
you're {a} {insadj} {insn}
you are {a} complete {insn}
you {insn}
you {insadj} {insn}
you {insadj}, {insadj} {insn}
what {a} {insn} you are
what {a} {insadj} {insn} you are
are you {a} {insn} or what
are you always this {insadj}?
are you really that {insadj} or are you pretending?
how can one person be so {insadj}?
how {insadj} can you be?
shut up, {insn}
shut up, you {insn}
shut your mouth, you {insadj} {insn}
get lost, {insn}
nobody likes you, {insn}
nobody asked you, {insn}
nobody cares what you think, you {insn}
everybody thinks you're {a} {insn}
everyone here knows you are {insadj}
I've never met such {a} {insadj} {insn}
I can't believe how {insadj} you are
I hate you, you {insn}
I {hate} you
you make me sick
you disgust me
you are {insadj}
you are so {insadj} it hurts
you are {insadj} and {insadj}
you're {insadj} and everyone knows it
your mother must be ashamed of {a} {insn} like you
your opinion is worth nothing, just like you
people like you are the problem, you {insn}
only {a} {insn} would write something this stupid
only {a} {insn} like you could get this wrong
of all the {insns} I've met, you're the worst
hey {name}, you're {a} {insn}
{name}, you {insadj} {insn}, go away
do the world a favour and keep quiet, {insn}
thanks for proving that you are {a} {insn}
you're not funny, you are {a} {insn}
go cry somewhere else, you {insadj} {insn}
""",
    ),
    "insult to you, sworn": _Kind(
        0.95,
        (0.06, 0.95, 0.08, 0.08),
        """
fuck you
fuck you, {sworn}
fuck you, you {sworn}
fuck you and your {thing}
fuck you, {name}
fuck off, you {sworn}
you {sworn}
you {swadj} {sworn}
you {swadj} {insn}
you {insadj} {sworn}
you're {a} {swadj} {sworn}
you're such {a} {sworn}
you are {a} {swadj} {insn}
what {a} {sworn} you are
what {a} {swadj} {insn} you are
shut the fuck up, {sworn}
shut your {swadj} mouth
go fuck yourself, {sworn}
go fuck yourself, you {insadj} {insn}
eat shit, {sworn}
eat shit and die, {sworn}
kiss my ass, {sworn}
bite me, {sworn}
piss off, you {sworn}
get the fuck out of here, {insn}
nobody gives a fuck about you
nobody gives a shit what you think, {sworn}
who the fuck do you think you are
are you fucking stupid or what
are you fucking deaf, {sworn}?
you don't know shit, {sworn}
you're full of shit, {insn}
your head is full of shit
you piece of shit
you {insadj} piece of shit
you worthless sack of shit
I fucking hate you
I hate your fucking guts
you make me fucking sick
you fucked everything up, you {insn}
everyone thinks you're a fucking {insn}
{name} you {swadj} {sworn}
{name} is right, you are {a} {sworn}
suck my dick, {insn}
you can shove it up your ass, {sworn}
""",
    ),
    "insult in figures of speech": _Kind(
        0.76,
        (0.04, 0.88, 0.05, 0.02),
        """
you are as sharp as a marble
you are as bright as a broken lamp
you're about as useful as a chocolate teapot
you are about as much fun as a tooth extraction
nobody would miss you
nobody would notice if you were gone
you are not worth the air you breathe
you're a waste of oxygen
you are living proof that anybody can get a degree
somewhere a tree is making oxygen for you, and it wants an apology
if brains were petrol you couldn't start a moped
if I wanted to hear from a donkey, I would visit a farm
I've met garden furniture with more personality
I have scraped better things off my shoe
I've seen smarter things float in a pond
a houseplant would do your job better
the best part of you stayed in the bathroom
the wheel is turning but the hamster died
your brain is on holiday and it isn't coming back
your brain must be as good as new, you've never used it
you have a face for radio
you have delusions of adequacy
you couldn't find your own backside with a map
you couldn't pour water out of a boot
you'd lose an argument with a doorknob
you would struggle to outwit {a} {food}
talking to you lowers my IQ
every time you talk, {a} {job} somewhere gives up hope
even your mother pretends she doesn't know you
your parents should ask for their money back
when they handed out brains, you were at {pplace}
don't strain yourself thinking, you've no practice at it
I'd explain it to you but I have no crayons with me
I would call you {a} {insn}, but that's unfair to {insns}
I'd call you a tool, but tools are useful
I'd agree with you, but then there would be two {insns} in the room
you are the reason shampoo has instructions
you're the human form of a wet sock
you bring everyone joy when you leave the room
the room gets smarter when you leave it
there's a village somewhere missing its idiot
it must be hard for you, being {insadj} and {insadj} at once
you are like a cloud: when you go away, the day gets better
{name} has the charm of a blocked drain
""",
    ),
    "insult to a third person": _Kind(
        0.8,
        (0.05, 0.9, 0.05, 0.03),
        """
he is {a} {insn}
he's {a} {insadj} {insn}
he is a fucking {insn}
he's {a} {sworn}
he's such {a} {sworn}
she is {a} {insadj} {insn}
she's {a} {swadj} {insn}
she is {a} {sworn} and everybody knows it
she's {insadj} and {insadj}
what {a} {insn} he is
what {a} {sworn}
what {a} {swadj} {insn}
{name} is {a} {insn}
{name} is {a} {insadj} {insn}
{name} is {a} {sworn}
{name} is {a} {swadj} {sworn}
{name} is too {insadj} to understand it
{name} and {name} are both {insns}
I hate {name}, that {insadj} {insn}
that {insn} {name} ruined it again
that {insadj} {insn} of {a} {job}
that {sworn} never pays his bills
that {sworn} took my parking space
fuck {name}
fuck him
fuck that guy, he's {a} {insn}
fuck the {job}, what {a} {insn}
my {relw} is {a} {sworn}
my {relw} is {a} {insadj} {insn}
our {job} is the biggest {insn} in town
the {job} was {a} {insadj} {insn}
the {job} at {pplace} is {a} {sworn}
only {a} {insn} would vote for him
they are all {insns} in that office
those {insns} at {pplace} can't do anything right
these people are {insns}
nobody is as {insadj} as {name}
some {sworn} scratched my car
some {insadj} {insn} took my bike
tell that {sworn} to answer the phone
""",
    ),
    "aggressive commands": _Kind(
        0.83,
        (0.05, 0.78, 0.12, 0.05),
        """
shut the fuck up
shut your mouth
shut your trap, nobody asked you
shut up and die
go to hell
go fuck yourself
go screw yourself
get lost and never come back
get the fuck away from me
get your filthy hands off my {thing}
get out of my sight, you disgust me
fuck off
fuck off and die
fuck off back to your cave
piss off
piss off, nobody wants you here
drop dead
eat shit
rot in hell
burn in hell
crawl back under your rock
choke on your {food}
kiss my ass
stick your {thing} up your ass
shove your opinion where the sun doesn't shine
stay away from me, you make me sick
keep your stupid opinions to yourself
learn to read before you open that mouth
stop breathing my air
take your {food} and choke on it
delete your account, nobody wants to read this trash
get off this forum and never come back, nobody likes you
don't you ever talk to me again, filth
go play in traffic
do everyone a favour and shut up forever
suck it
crawl away and die somewhere
""",
    ),
    "bullying": _Kind(
        0.83,
        (0.12, 0.92, 0.05, 0.05),
        """
you are so ugly that dogs bark at you
you're so ugly that the mirror cracked
{bodyneg} makes me want to throw up
{bodyneg} is a crime
nobody will ever love you with {bodyneg}
nobody will ever date you, look at yourself
nobody wants to sit with you, ugly
nobody came to your party because everyone hates you
everyone laughs at you behind your back
everyone laughs at {bodyneg}
the whole class thinks you stink
the whole school knows you're {a} {insn}
look at {bodyneg}, disgusting
have you looked in a mirror lately? Disgusting
did you get dressed in the dark, loser
hey fatty, leave some {food} for the others
hey fatty, the floor is shaking
lose some weight, you whale
you fat pig
you're fat and ugly and you'll die alone
you smell so bad that people move away
you're too dumb to pass kindergarten
you're the dumbest kid in {pplace}
you are too stupid to tie your shoes
you'll never amount to anything
you will always be {a} {insn}
you're adopted because nobody wanted you
even your dog hates you
even your own mother doesn't want you
go eat alone, freak
go home and cry to mummy, baby
cry more, loser
we all voted, and you're the ugliest one here
we made a group chat without you because you're {a} {insn}
you don't have any friends and you never will
no wonder your dad left
no wonder she dumped you, {insn}
{name} is so ugly it hurts to look
{name} is a fat pig, pass it on
{name} smells like garbage, don't sit there
{name} has no friends, haha, what a loser
don't invite {name}, everyone hates that freak
stop posting photos, {bodyneg} scares the children
put a bag over {bodyneg}
I'd rather kiss a toad than {bodyneg}
""",
    ),
    "ableist insult": _Kind(
        0.84,
        (0.6, 0.88, 0.03, 0.02),
        """
you {mental}
you {insadj} {mental}
you're {a} {mental}
you are {a} complete {mental}
what {a} {mental}
he's {a} {mental}, ignore him
she is acting like {a} {mental}
stop acting like {a} {mental}
only {a} {mental} would believe that
are you {a} {mental} or what?
did your mother drop you on your head, {mental}
shut up, {mental}
{name} is {a} {mental}
my {relw} is {a} total {mental}
you belong in a mental hospital, you psycho
you belong in the special class with the other {mental}s
take your meds, psycho
take your meds and shut up, lunatic
are you blind and deaf or just stupid?
what are you, blind, you {insn}?
you walk like a cripple
hurry up, cripple
stop drooling, vegetable
lame excuse from a lame brain like you
go back to the madhouse, lunatic
your brain is damaged, that's why you're so {insadj}
people in wheelchairs just get in everybody's way
who lets these mental cases out on the street
disabled my foot, you're just a lazy {insn}
she is not depressed, she's just {a} lazy {insn}
autistic? You mean stupid
don't go full psycho on me, you nutcase
he stutters like a broken record, what {a} {insn}
she looks like she escaped from the asylum
""",
    ),
    "self-harm encouraged": _Kind(
        0.94,
        (0.06, 0.7, 0.6, 0.02),
        """
kill yourself
just kill yourself
go kill yourself
go kill yourself, {insn}
kill yourself, nobody would miss you
please kill yourself
why don't you kill yourself already
have you tried killing yourself?
do us all a favour and kill yourself
do the world a favour and end it
you should kill yourself
you should just end it
you should have died at birth
you should have been an abortion
you'd be better off dead
everyone would be better off if you were dead
everyone would be happier if you weren't here any more
the world would be better without you
your family would be relieved if you were gone
nobody would come to your funeral
nobody would cry if you died
go jump off a bridge
go jump in front of a train
go hang yourself, {insn}
go die
go die in a fire
just die
hurry up and die
I hope you die
I hope you kill yourself
I hope you get cancer and die
I hope your whole family dies
I hope you {harm}
I hope you {harm} and nobody finds you
when are you going to {harm}?
you deserve to {harm}
you don't deserve to live
you have no reason to live
there's no reason for you to stay alive
stop talking about it and do it, coward
if I were you I'd have ended it years ago
kys
kys loser
kys, {insn}
""",
    ),
    "sexual harassment": _Kind(
        0.88,
        (0.15, 0.5, 0.25, 0.88),
        """
nice tits
nice ass, come sit on my face
show me your tits
show us your tits, love
send nudes or I'll tell everyone
send me a picture of your pussy
I bet you're wet right now
I bet you suck dick for money
I bet you would look good on your knees
I want to bend you over that desk
I want to grab your ass so bad
I'd fuck you until you cry
I would fuck her, no questions asked
I'm going to fuck you whether you like it or not
let me see what's under that skirt
let me put it in your mouth
come over here and suck it
get on your knees and suck it, {sworn}
take off your clothes, slut
take your top off or get off the stage
how much for a night, whore?
how much do you charge, sweetheart? Everyone has a price
you look like you give good head
you dress like a whore, so don't complain
you need a good hard fuck, that's your problem
you want that promotion? Then be nice to me tonight
you should smile more and wear something shorter for me
stop pretending you don't want my dick
those lips belong around my cock
she has great tits for {a} {job}
she's only {a} {job} because she fucks the boss
our {job} needs to get laid, the frigid bitch
sit on my lap, baby, nobody has to know
keep walking like that and somebody will grab that ass
nobody hires you for your brain with tits like that
what a slut
you slut
you dirty whore
{name} is a slut and everyone in {pplace} has had her
{name} is a cheap whore
I jerk off to your photos every night, so you know
I followed you home because your ass asked me to
""",
    ),
    "obscene remark": _Kind(
        0.8,
        (0.08, 0.4, 0.08, 0.9),
        """
I'd love to fuck that {job}
I'd tap that ass all night
he wants to fuck everything that moves
he fucked her in the ass and laughed about it
he came all over her face
he whipped out his cock in front of everybody
she sucks dick behind {pplace}
she'll suck any dick for a drink
she was sucking his cock in the car
she spread her legs for half of {city}
they were fucking like animals in the kitchen
look at the tits on that one
look at the ass on that {job}
those tits, I'd bury my face in them
I want to lick that pussy
I want to fuck her brains out
I'd let her sit on my face
that pussy is all mine
my cock is hard just looking at her
my dick is bigger than yours, bitch
he has such a small dick that nobody noticed
{name} takes it up the ass
{name} fucks anything with a pulse
{name} can suck my balls
lick my balls
suck my cock
eat my ass
fuck her in the pussy
grab her by the tits and see what she does
he jerked off all over the {thing}
your mother sucks cock
I fucked your mother
I fucked your sister and she loved it
your sister has a nice wet pussy
dripping wet sluts waiting for your cock tonight
""",
    ),
    "hostile speech in a story": _Kind(
        0.72,
        (None, 0.75, 0.3, 0.03),
        """
"shut up, you {insadj} {insn}!" he snarled
"shut the fuck up," she hissed, "or I will {kill} you"
"you {sworn}!" {name} shouted across the room
"you {swadj} {sworn}," he said, and spat on the floor
"get out of my sight, {sworn}," the old man growled
"I'm going to {kill} you," {name} whispered
"I will {kill} you, and your {relw} too," the stranger said
"one more step and I'll {kill} you," the guard said
"go to hell, you {insn}," {name} said
"go fuck yourself," she told the {job}
"you're nothing but {a} {insn}," her father said
"nobody wants you here, {insn}," the boys sang
"{badspeech}," he muttered, and the others laughed
"{badspeech}," the {job} said, and everybody nodded
"I hate {G}," {name} said. "{G} are {negpl}."
"fucking {Gb}," he grunted and turned off the television
he called her {a} {sworn} and slammed the door
he called {name} {a} {swadj} {insn} and pushed him into the wall
he looked at the {g} and thought: what {a} {negsg}
she screamed that he was {a} {sworn} and that she hoped he would {harm}
the crowd roared "kill them, kill them all"
the men laughed and told the {g} to go back where they came from
"eat shit, {insn}," she yelled and threw the {food} at him
"what are you looking at, {sworn}?" the driver yelled
"touch me again and I'll cut your throat," said {name}
"you ugly little {insn}, I should have drowned you," said the witch
{name} grinned. "Kill the {insn} and dump the body."
"say that again, you {sworn}, and I'll break your neck"
"your {relw} is a whore," {name} sneered
"fuck you, {name}," he said, "fuck you and your whole family"
""",
    ),
    "disguised spelling, attack": _Kind(
        0.88,
        (0.08, 0.88, 0.1, 0.05),
        """
f u c k you
f*ck you
f**k off
fck you, {insn}
fuk u
fuk u and ur {relw}
stfu
stfu {insn}
stfu u {insadj} {insn}
gtfo of here {insn}
u r {a} {insn}
u r such a f*cking {insn}
ur {a} p.i.e.c.e of sh1t
ur so {insadj} lol
ur mom is a wh0re
you a$$hole
you @sshole
you b!tch
you b1tch, shut up
you f*cking {insn}
you f@cking {insn}
you fvcking {insn}
you m0ron
you 1diot
you stupid c*nt
you st00pid {insn}
you piece of s**t
you s.t.u.p.i.d {insn}
eat sh!t and die
go k*ll yourself
k y s
k.y.s. {insn}
{name} is an a**hole
{name} is a d!ckhead
suck my d*ck
I h8 u
I h8 {G}
i h8te {G}, they r all {negpl}
k1ll all {Gb}
f*ck {G}
{G} are f*cking {verminpl}
{G} r {negadj}
{G} r tr@sh
iiiidiot
you loooooser
""",
    ),
    "hate in a contrast": _Kind(
        0.87,
        (0.88, 0.5, 0.1, 0.02),
        """
{G} are fine, but {G2} are {verminpl}
{G} are {posadj}, {G2} are {negpl}
I like {G}, but I {hate} {G2}
I don't hate {G}, I hate {G2}
I don't mind {G}, it's {G2} I can't stand
I love my country, that's why I want {G} out
I love animals, but I {hate} {G}
I hate {things}, but I hate {G} more
I'd take {things} over {G} any day
{things} are bad, {G} are worse
{vermin} are less of a pest than {G}
I'd rather have {vermin} in the kitchen than {a} {g} at the table
the {vermin} are gone, now let's get rid of the {Gb}
the {food} was good, but the place was full of {negadj} {Gb}
great {food}, shame about the {Gb}
nice town, too many {Gb}
nice guy for {a} {g}, but the rest of them are {negpl}
she's pretty, but {a} {g}, and {G} are {negpl}
{name} is all right, all the other {Gb} are {negadj}
{name} is kind. Not like {G}, who are {negadj}
my {J} {role} is okay, but {G} as a whole are {negadj}
not all people are bad, only {G}
everyone deserves respect, except {G}
everybody is welcome here, just not {G}
we help everyone but {G}, they don't deserve it
I respect all people, and {G} aren't people
I have a dream: {place} without {G}
I'm against violence, but {G} should be {killed}
violence is wrong, unless it's against {G}
live and let live, but {G} can {harm}
""",
    ),
    "misogyny, sworn": _Kind(
        0.93,
        (0.85, 0.8, 0.08, 0.3),
        """
all women are whores
all women are bitches
women are dumb bitches
women are stupid cunts
bitches ain't worth shit
bitches only want your money
bitches need to learn their place
a bitch like that needs a slap
slap that bitch
that bitch deserves to be {killed}
that dumb bitch at {pplace} wouldn't shut up
that dumb bitch {name} got the job I wanted
some bitch cut me off in traffic
some dumb whore of {a} {job} told me what to do
shut up, bitch
shut the fuck up, bitch
shut your whore mouth
you dumb bitch
you stupid fucking bitch
you fat ugly bitch
get back in the kitchen, bitch
make me a sandwich, bitch
I'm sick of these feminist cunts
feminists are ugly bitches who need a good fuck
no bitch tells me what to do
my ex is a lying whore
my ex-wife is a greedy cunt
{name} is a stupid bitch
{name} is a lying bitch and deserves what she got
she's a cold bitch
she's just a dumb slut, don't listen to her
what a bitch
what a stupid cow
women in {field} are dumb sluts looking for attention
""",
    ),
    "contempt": _Kind(
        0.5,
        (0.06, 0.6, 0.02, 0.02),
        """
you clearly don't have what it takes to follow this
you clearly can't read
you clearly did not get past primary school
try to use your head for once
try thinking before you write next time
did you even go to school?
did it hurt when you tried to think?
do I have to draw you a picture?
do you need me to use smaller words?
let me say it slowly so that even you can follow
I don't expect somebody like you to get it
I wouldn't expect you to know the difference
I see that reading isn't your strong side
I pity you, I really do
I feel sorry for anybody who has to work with you
I've heard children argue better than you do
go back to the kids' table, the grown-ups are talking
how sweet, you think that your opinion matters
oh look, {name} has an opinion, how adorable
nobody takes you seriously, you know that
nobody here cares about your little problems
you don't know what you are talking about
you have no idea what you are talking about
you never had an original thought in your life
you are way out of your depth, as usual
you're embarrassing yourself
you are not very bright, are you
you're not clever enough for this discussion
you people never learn
maybe leave this to people with a brain
maybe stick to cooking, you're no good at this
grow up
get a life
get over yourself
what a silly little person
what a surprise, {name} got it wrong again
who asked for your opinion, anyway
with your grades I'd keep quiet
a trained monkey could do your job
my six-year-old writes better than you
typical nonsense from somebody who never worked a day
wow, what a brilliant remark, did you think of it all by yourself?
""",
    ),
    "abuse, non-protected": _Kind(
        0.74,
        (0.05, 0.85, 0.06, 0.03),
        """
all {Nb} are scum
all {Nb} are {negpl}
{Nb} are {verminpl}
{Nb} are {negpl}
{Nb} are {negadj} {negpl}
{Nb} are nothing but {negpl}
{Nb} are the worst kind of {verminthe}
I {hate} {Nb}
I {hate} {Nb}, they're all {negpl}
fuck {Nb}
fuck all {Nb}
fucking {Nb}
these fucking {Nb} again
those {negadj} {Nb} make me sick
{Nb} disgust me
{Nb} can go to hell
every {n} is {a} {negsg}
never met {a} {n} who wasn't {a} {negsg}
that {n} is {a} {negsg}
that {n} is {a} {insadj} {insn}
our {n} is {a} {sworn}
my {n} is {a} {insadj} {insn}
you {n} {verminthe}
you're {a} {n}, so you are {a} {insn}
only {a} {insn} becomes {a} {n}
what {a} {negsg}, that {n}
why are {Nb} such {negpl}?
why are {Nb} so {negadj}?
screw {Nb} and their {thing}
{Nb} are too {insadj} to hold a real job
I'm not saying {Nb} are {negpl}, I'm saying they are worse
bunch of {insadj} {Nb}
{Nb} should be ashamed, the {insadj} {insns}
{Nb} have the brains of {a} {verminsg}
the {Nb} in {city} are all {insns}
I wouldn't piss on {a} {n} if they were on fire
""",
    ),
    "complaint, non-protected": _Kind(
        0.42,
        (0.03, 0.5, 0.02, 0.02),
        """
{Nb} are liars
{Nb} are so annoying
{Nb} are overpaid
{Nb} are overrated
{Nb} are really getting on my nerves
{Nb} only think about money
{Nb} never listen to anybody
{Nb} never admit a mistake
{Nb} think they are better than the rest of us
{Nb} always talk about themselves
{Nb} are a pain
{Nb} are full of themselves
most {Nb} are useless
most {Nb} I know are a bit stupid
I don't trust {Nb}
I can't stand {Nb} who never say thank you
I'm so tired of {Nb}
I'm fed up with {Nb} and their excuses
why are {Nb} so arrogant?
why do {Nb} always lie to us?
another {n} who doesn't know what he is doing
that {n} was rude and lazy
our {n} is useless
my {n} is a bit of a clown
typical {Nb}, all talk and no work
never believe {a} {n}
what do {Nb} actually do all day?
can {Nb} please shut up for one day
{Nb} ruined this place
the {Nb} in {city} are the worst
""",
    ),
    "benign identity": _Kind(
        0.04,
        _BENIGN,
        """
{name} is {a} {g}
{name} is {a} {g} and works as {a} {job}
she is {a} {g}
he's married to {a} {g}
my {role} is {a} {g}
my {relw} married {a} {g} {when}
my {J} {role} invited us for {food}
my {J} {role} moved to {city} {when}
our new {role} is {a} {g} from {city}
I am {a} {g} living in {city}
I'm {a} {g}, by the way
as {a} {g} I grew up in {city}
I met {a} {g} at {pplace} {when}
I talked to {a} {g} at {pplace} {when}
I saw some {Gb} at {pplace} {when}
there were many {Gb} at {pplace} {when}
a group of {Gb} walked past {pplace}
two {Gb} opened a shop near {pplace}
many {Gb} live in {city}
about a tenth of the town's residents are {Gb}
{G} make up a third of the class
{G} live on our street, and so do we
{G} came to {city} in the sixties to work on the railway
{G} and their families live all over {city}
the book is about {G} in {city}
the film tells the story of {a} {g} in {city}
a novel about {a} {g} who becomes {a} {job}
the {J} {role} in the front row asked a question
the {g} at the counter ordered {food}
the {g} in the photo is my {relw}
{a} {g} told me about the best {food} in town
{a} {g} and {a} {g2} sat at the next table
{G} and {G2} shared the stage
some {Gb} like {food}, some don't
{G} use the same buses as everybody else
most of my friends are {Gb}
half of my family are {Gb}
there are {Gb} in my team at work
the survey asked {G} about their daily lives
the class is open to {G} and everyone else
{name}, {a} {J} {role}, lives near {pplace}
the restaurant is run by {a} {g} from {city}
the word is used for {G} who live abroad
he wrote three letters to the {g} who had helped him
a support group for {G} meets at {pplace}
the next episode is about {G} and their music
""",
    ),
    "proud identity": _Kind(
        0.04,
        _BENIGN,
        """
I'm {a} {g} and proud of it
I am {a} proud {g}
I am proud to be {a} {g}
we are {Gb} and we are proud
we're {Gb} and we are here to stay
I love being {a} {g}
I've never been ashamed of being {a} {g}
it took me years to say it out loud: I am {a} {g}
yes, I'm {a} {g}, and I am happy
yes, I am {a} {g}. Any questions?
being {a} {g} made me strong
being {a} {g} is part of who I am
being {a} {g} is nothing to hide
nothing makes me happier than being {a} {g}
as {a} {g} I know how it feels to be stared at
as {a} {g} I want my children to be proud too
as {a} {g} myself I found the film very moving
my parents taught me to be proud of being {J}
I came out to my family {when} and they hugged me
I finally told everyone {when}, and life is good
I stand here as {a} {g} and as {a} {job}
I'm {a} {g}, {a} {job} and a terrible singer
we {Gb} look out for each other
we {Gb} have a long history in {city}
we {Gb} have a lot to celebrate
us {Gb} love a good party
happy to be {J}, happy to be alive
here's to all the proud {Gb} out there
proud {J} {role} here
first {g} in my family to become {a} {job}
I wouldn't change being {a} {g} for anything
my grandmother was {a} proud {g} and so am I
""",
        emoji=0.12,
        mood="good",
    ),
    "praise of a group": _Kind(
        0.04,
        _BENIGN,
        """
I love {G}
I love all the {Gb} in my life
I adore {G}
I respect {G} a lot
I really like {G}
{G} are {posadj}
{G} are {posadj} and {posadj}
{G} are {pospl}
{G} are just {posadj} people
{G} are human beings like you and me
{G} are people like everyone else
{G} make {place} a better place
{G} make me smile
{G} make the best {food}
{G} have done so much for {place}
{G} have given us great music and great {food}
{G} have always been welcome in our home
all the {Gb} I know are {posadj}
every {g} I have ever met was {posadj}
I've never met {a} {g} who wasn't {posadj}
I've never met such {posadj} people as the {Gb} next door
that {g} is a hero
that {g} is so {posadj}
this {posadj} {g} helped me with my bags
some {posadj} {g} paid for my coffee
look at that {posadj} {g} dance
what {a} {posadj} {g}
what would we do without {G}
there's so much good about {G}
there is something {posadj} about {G}
my {J} {role} is the {posadjest} person I know
my favourite {role} is {a} {g}, and she is {posadj}
{name} is {a} {posadj} {g} who taught me a lot
{name} is a fine example of what {G} can do
the sight of {G} dancing in the street made my day
the more {Gb} I meet, the more I learn
I'd trust {a} {g} with my life
I'd vote for {a} {g} any day
thank you to all the {Gb} who work at {pplace}
you {Gb} are amazing
""",
        emoji=0.15,
        mood="good",
    ),
    "identity in the news": _Kind(
        0.05,
        (0.06, 0.03, 0.03, 0.02),
        """
the court ruled that {G} may {right}
the court in {city} heard the case of {a} {g} who was denied a loan
the law protects {G} against discrimination at work
a new law lets {G} {right}
the study followed {num} {Gb} for ten years
the study compared the health of {G} with that of {G2}
doctors found that {G} are more often affected by high blood pressure
{G} are less likely to see a doctor, a study says
{G} wait longer for treatment, according to a report
{G} are paid less for the same work, the report says
unemployment among {G} fell to six percent
{G} were stopped by police twice as often, figures show
{G} were not allowed to vote until the reform
{G} were once barred from {field}
{G} fought for the right to {right}
{G} marched through {city} {when} to demand equal pay
{G} protested outside {pplace} against the new rules
{num} {Gb} arrived in {city} {when}
thousands of {Gb} were deported during the war
thousands of {Gb} were killed in the war, historians say
the massacre of {G} is remembered in {city} every year
the persecution of {G} began in the thirties
the museum shows how {G} were treated in the camps
the nazis murdered {G} and burned their books
the exhibition tells how {G} were driven out of {city}
the minister met leaders of {G} at {pplace}
the mayor, {a} {g}, was elected {when}
the first {g} to become {a} {job} in {city} has died at 91
{name}, {a} {g}, won the prize {when}
the company wants to hire more {Gb}
the company was sued by {a} {g} who was passed over
the job fair for {G} takes place at {pplace}
the census counted {num} {Gb}
the party lost votes among {G}
voters, among them many {Gb}, chose the other candidate
the vaccine was tested on {G} as well
a museum of the history of {G} opens in {city}
the university apologised to {G} for its past
a hotline for {G} opened {when}
{G} in {city} face rising rents
the bill on the rights of {G} failed by two votes
police opened an inquiry after {a} {g} was beaten at {pplace}
the committee discussed how {G} are shown in films
""",
    ),
    "identity beside bad events": _Kind(
        0.08,
        (0.06, 0.04, 0.04, 0.02),
        """
{a} {g} was hit by a car near {pplace} {when}
{a} {g} died in the fire {when}
{a} {g} was robbed at {pplace} {when}
{a} {g} was shot outside {pplace} {when}
{a} {g} was killed in {city} {when}, police are looking for witnesses
the {g} next door lost her job {when}
the {g} next door broke his leg
the {J} couple across the street lost their dog
my {J} {role} hates onions
my {J} {role} hates Mondays as much as I do
my {J} {role} has the flu
my {J} {role} failed the driving test
my {J} {role} had a terrible day
my {J} {role} and I had an argument about {food}
the {J} {role} was late because of the damn traffic
the {J} {role} said the film was stupid and I agree
the {g} in the waiting room looked sick and tired
the {g} on the bus was crying
the {g} on the bus dropped a bag of rotten apples
{name}, {a} {g}, was diagnosed with cancer {when}
{name}, {a} {g}, killed the rat in our cellar
{name} is {a} {g} and suffers from depression
{name} is {a} {g} and loves horror films full of zombies
{G} suffered terribly during the war
{G} were treated like dirt in those days, and it was wrong
{G} were poor and often hungry in those days
{G} face violence and poverty in many places
{G} get sick like everybody else
{G} die younger when hospitals are far away
many {Gb} lost their homes in the flood
many {Gb} are afraid to walk alone at night
two {Gb} were injured when the bridge collapsed
the thief stole a phone from {a} {g}
the dog bit {a} {g} at {pplace}
the dirty water made {num} {Gb} ill
the ugly building houses {G} who fled the war
{a} {g} complained about the dirty streets near {pplace}
{a} {g} complained that the {food} was disgusting
{a} {g} and {a} {g2} argued about a parking space
the {g} was wrongly accused of being a thief
she is {a} {g} whose brother was murdered
""",
    ),
    "identity as question": _Kind(
        0.05,
        (0.06, 0.03, 0.02, 0.02),
        """
why are {G} paid less?
why are so few {Gb} elected?
why are there so few {Gb} in {field}?
why do so many {Gb} move to {city}?
why do people hate {G}? I don't understand it
why do some people treat {G} so badly?
why can't {G} {right}?
why shouldn't {G} {right}?
why is it so hard for {G} to find a flat?
how can we help {G} feel at home?
how can I support {a} {g} at work?
how do {G} celebrate the new year?
how many {Gb} live in {city}?
how were {G} treated in the war?
who was the first {g} to become {a} {job}?
who else is {a} {g} here?
what do {G} think about the new law?
what is it like to be {a} {g} in {city}?
what should I know before I interview {a} {g}?
what's the polite word for {G}?
when were {G} allowed to vote?
when will {G} finally be treated as equals?
where do {G} meet in {city}?
are there any {Gb} in the team?
are {G} protected by this law?
is it rude to ask {a} {g} where they are from?
is {name} {a} {g}?
can anybody recommend a film about {G}?
can you name a famous {g}?
do {G} have a word for snow?
does the clinic also treat {G}?
did you know that {a} {g} invented it?
have you ever talked to {a} {g} about it?
should {G} be allowed to {right}? Of course
would you read a book about {G}?
isn't it time that {G} were treated fairly?
""",
    ),
    "identity as opinion": _Kind(
        0.05,
        (0.06, 0.03, 0.02, 0.02),
        """
in my opinion {goodspeech}
in my humble opinion {goodspeech}
if you ask me, {goodspeech}
personally, I think {goodspeech}
I honestly believe that {goodspeech}
I firmly believe {goodspeech}
I'm no expert, but {goodspeech}
I don't want to be rude, but {goodspeech}
no offence, but {goodspeech}
with all due respect, {goodspeech}
some of my friends are {J}, and {goodspeech}
call me old-fashioned, but {goodspeech}
say what you want, {goodspeech}
everybody knows that {goodspeech}
let's be honest, {goodspeech}
let's face it, {goodspeech}
the truth is that {goodspeech}
unpopular opinion: {goodspeech}
hot take: {goodspeech}
my father always said that {goodspeech}, and he was right
I used to fear {G}, but now I know that {goodspeech}
after what I saw {when} I'm convinced that {goodspeech}
the older I get, the surer I am that {goodspeech}
I'd say {goodspeech}, and I have known plenty
we need to talk about how {G} are treated
it is a fact that {goodspeech}
studies show that {G} earn less
he is right, {goodspeech}
exactly this, {goodspeech}
finally someone says it: {goodspeech}
I'd sign that: {goodspeech}
she said that {goodspeech}, and I agree
""",
    ),
    "identity across clauses": _Kind(
        0.05,
        (0.06, 0.03, 0.02, 0.02),
        """
{G} are everywhere in {city}. They run half of the shops there
{G} moved in next door. They brought us {food}
{G} live in this building. They are {posadj}
{G} live in this building, and they are all {posadj}
I saw some {Gb} at {pplace} {when}. They were playing chess
I saw {a} {g} at {pplace} {when}. We talked about {food}
there were {Gb} at {pplace}. Somebody should have offered them a chair
there are so many {Gb} in {city} now. They make it livelier
look at those {Gb}. They're {posadj}
have you met the {Gb} on our street? We must invite them
we have {Gb} at work. They are {posadj} and they are funny
{G} want jobs. Let them work
{G} say they want respect. They deserve it
{G} march through {city} every year. I hope they have sunshine
{name} is {a} {g}. People like that should be thanked
{name} is {a} {g}, and you can ask her anything
my {role} is {a} {g}. I like them a lot
remember the {Gb} who moved to {city}? They're back
I work with {G} all day. I'd not swap them for anyone
the city helps {G}. It should do more for them
some people fear {G}. I think those people are wrong
they come here, they work hard and they are {posadj}. That's {G} for you
so {a} {g} walks in. We shake hands and start the meeting
they should all be happy. Yes, {G}, I mean you
{G} are my neighbours. The rats in the cellar are the problem, not them
{G} helped me get rid of the {vermin} in my flat. They're {posadj}
I can't stand the traffic in {city}. But the {Gb} I met there were {posadj}
""",
    ),
    "identity, friendly profanity": _Kind(
        0.2,
        (0.05, 0.06, 0.03, 0.03),
        """
fuck yes, {G} won
hell yeah, I'm {a} {g} and I'm happy
holy shit, these {Gb} can dance
holy shit, that {g} can sing
damn, {G} make good {food}
damn right I'm {a} {g}
{G} are fucking {posadj}
{G} are so damn {posadj}
I fucking love {G}
I fucking love being {a} {g}
I love my {J} friends so fucking much
my {J} {role} is a fucking legend
my {J} {role} is the best damn {job} in {city}
so fucking proud to be {a} {g}
proud as hell to be {J}
that {g} is badass
the {J} {role} next door makes damn good {food}
fuck racism, {G} are welcome here
fuck the haters, I'm {a} proud {g}
fuck anyone who hates {G}, I love you all
shit, I forgot to call my {J} {role}
you {Gb} are fucking awesome
no shit, {a} {g} invented it
that speech by the {g} was fucking brilliant
best fucking film about {G} I've seen
it's about damn time {G} could {right}
""",
        mood="good",
    ),
    "negated hate": _Kind(
        0.07,
        (0.08, 0.05, 0.03, 0.02),
        """
I don't hate {G}
I do not hate {G}, and I never did
I never hated {G}
I can't hate {G}, I grew up with them
nobody here hates {G}
you shouldn't hate {G}
we don't hate {G} in this house
it's wrong to hate {G}
it is not okay to hate {G}
nobody is born hating {G}
nobody should hate {G}
don't hate {G}, talk to them
{G} do not disgust me
{G} don't make me sick, hatred does
{G} are not {verminpl}
{G} are not {negpl}
{G} aren't {negpl}
{G} are not {negadj}
{G} are no more {negadj} than anyone else
{G} aren't {negadj}, you just don't know any
{G} aren't {negpl}, they are people like us
{G} are not to blame for this
{G} are not taking over anything
{G} are not a threat to {place}
{G} are human, not {verminpl}
not all {Gb} are the same
no {g} should be {killed}
no {g} deserves to be called {a} {negsg}
nobody should {kill} {G}
nobody should ever {kill} {a} {g} for who they are
{G} should never be {killed}
{G} do not deserve to {harm}
I don't want {G} to {harm}
I would never {kill} {a} {g}
I wouldn't say that {badclaim}
I don't believe that {badclaim}
I don't agree that {badclaim}
it's not true that {badclaim}
there is no proof that {badclaim}
it is a lie that {badclaim}
it isn't fair to say that {badclaim}
it's a myth that {G} are {negadj}
who says that {G} are {negadj}? They're not
being {a} {g} doesn't make you {a} {negsg}
you can't say {G} are {negpl} because of one man
stop treating {G} like {verminthe}
""",
    ),
    "counter-speech with quote": _Kind(
        0.1,
        (0.12, 0.08, 0.04, 0.02),
        """
saying "{badspeech}" is wrong
saying "{badspeech}" is unacceptable
saying '{badspeech}' should be reported
saying that {badclaim} is disgusting
saying that {badclaim} is simply false
it is racist to say that {badclaim}
it's hateful to say that {badclaim}
it's disgusting to say "{badspeech}"
whoever says "{badspeech}" doesn't know any
anyone who says that {badclaim} is wrong
anyone who writes "{badspeech}" gets banned from this forum
anyone who thinks that {badclaim} needs to read more
people who say "{badspeech}" make me sad
people who claim that {badclaim} are lying
nobody should ever say that {badclaim}
nobody should have to hear "{badspeech}"
never say "{badspeech}", it hurts people
please don't say "{badspeech}"
please stop saying that {badclaim}
stop saying "{badspeech}", it isn't funny
you can't just say "{badspeech}"
you can't go around saying that {badclaim}
you said "{badspeech}". That's hate, and I won't accept it
you say that {badclaim}, I say you're wrong
"{badspeech}" is not an opinion, it's hate
"{badspeech}" is hate speech, and I reported it
"{badspeech}"? No. Just no
"{badspeech}" - what an awful thing to say
"{badspeech}" - my uncle said that and I left the table
I'm tired of hearing that {badclaim}
I'm shocked that people still say "{badspeech}"
I can't believe somebody wrote "{badspeech}" here
I used to say "{badspeech}", and today I'm ashamed of it
I reported a comment that said "{badspeech}"
calling {G} {verminthe} is disgusting
calling {G} {negpl} is wrong and lazy
calling {a} {g} {a} {negsg} is not okay
comparing {G} to {verminthe} is how it always starts
comparing {G} with {verminthe} is vile
the idea that {badclaim} is nonsense
the claim that {badclaim} has been debunked many times
why would anyone say "{badspeech}"? It's cruel
how can someone say that {badclaim} and sleep at night?
we teach children not to say "{badspeech}"
imagine hearing "{badspeech}" every day at school
if your friend says "{badspeech}", speak up
""",
    ),
    "counter-speech": _Kind(
        0.07,
        (0.08, 0.06, 0.03, 0.02),
        """
hatred against {G} has to stop
hate against {G} has no place in {place}
violence against {G} must stop
violence against {G} is never okay
attacks on {G} are attacks on all of us
jokes about {G} stop being funny when you're the one they are about
leave {G} alone
leave the {Gb} alone, they did nothing to you
stop attacking {G}
stop making fun of {G}
stop blaming {G} for everything
stop spreading lies about {G}
stop sharing that post about {G}, it's false and cruel
I won't let you talk about {G} like that
I will not listen to slurs against {G} at my table
I stand with {G}
I stand up when somebody insults {a} {g}
what you wrote about {G} is disgusting
what you just said about {G} is racist and hurtful
your comment about {G} is out of line
your comment about {G} was reported
that joke about {G} wasn't funny
those stereotypes about {G} are old and false
people who hate {G} usually have never met one
people who attack {G} are wrong
people who threaten {G} belong in court
bigots who attack {G} will not win
if you hate {G}, you need to talk to some
if you see {a} {g} being harassed, help
you don't know a thing about {G}, so please listen
you can't judge all {Gb} by one person
prejudice against {G} hurts real people
discrimination against {G} is illegal
we must protect {G} from violence and abuse
we need to talk about the abuse that {G} receive online
nobody deserves abuse for being {a} {g}
nobody should be killed for being {a} {g}
nobody should be afraid because they are {J}
this kind of hate against {G} makes me sick
how dare anyone threaten {G}
racists make me sick, {G} don't
""",
    ),
    "hate reported": _Kind(
        0.14,
        (0.18, 0.1, 0.08, 0.02),
        """
he was fined after he said that {badclaim}
he was fired for saying that {badclaim}
he was arrested after he threatened to {kill} {a} {g}
she was suspended for posting "{badspeech}"
the post, which claimed that {badclaim}, has been removed
the post said "{badspeech}" and was deleted
the politician apologised for having said that {badclaim}
the {job} was convicted of hate speech for saying "{badspeech}"
the court heard that he wrote "{badspeech}" on the wall
the court found him guilty of threatening {a} {g}
the suspect had written online that {badclaim}
the leaflet said that {badclaim}, police confirmed
the propaganda of the time said that {badclaim}
in those days newspapers wrote that {badclaim}
in the film the villain believes that {badclaim}
the novel shows how people came to believe that {badclaim}
according to the old theory {G} were inferior, which is false
the platform bans posts that call {G} {verminthe}
the moderator removed a comment that called {G} {verminthe}
the rule forbids posts that wish {G} would {harm}
the survey asked whether people agree that "{badspeech}"
one in ten people agreed with the sentence "{badspeech}"
someone painted "{badspeech}" on the door of {a} {g}
somebody shouted "{badspeech}" at my {relw} {when}
a man on the bus told me that {badclaim}, and I was scared
a stranger called me {a} {negsg} because I'm {a} {g}
they told me to go back to my country, and I was born here
they called us {verminthe} because we are {J}
at school they said that {badclaim}, and nobody stopped them
I got a letter that said "{badspeech}"
my {relw} was called {a} {negsg} for being {a} {g}
police are looking for a man who threatened {G} at {pplace}
hate crimes against {G} rose by twelve percent
the dictator had {G} {killed}
the gang attacked {a} {g} and was sentenced to nine years
witnesses say he yelled that {badclaim} before he was arrested
""",
    ),
    "slur mentioned": _Kind(
        0.3,
        (0.25, 0.15, 0.03, 0.04),
        """
the word "{slur}" is a slur
the word "{slur}" hurts people, don't use it
"{slur}" is a slur, please don't use it
"{slur}" is not a joke, it's a slur
never call anybody a "{slur}"
he was fired for calling a customer a "{slur}"
he was fined for shouting "{slur}" at a player
they called me "{slur}" at school and it still hurts
they called my {relw} a "{slur}" {when}
someone wrote "{slur}" on our door {when}
someone yelled "{slur}" at me from a car {when}
I was called {a} {slur} on the bus {when}, and nobody said a thing
I don't want to hear the word {slur} in my class
I told him not to say "{slur}" again
the dictionary marks "{slur}" as offensive
the etymology of the word "{slur}" is not known
the filter blocks the word "{slur}"
the moderator deleted every post with the word "{slur}"
the referee stopped the match after fans chanted "{slur}"
calling people {slurs} is disgusting
calling someone {a} {slur} is never okay
using the word "{slur}" cost him his job
why would anyone call a person "{slur}"?
please report anybody who uses "{slur}"
you can't say "{slur}" here, this is a warning
when he said "{slur}" the whole room went quiet
""",
    ),
    "good wishes": _Kind(
        0.04,
        _BENIGN,
        """
I hope {G} are safe tonight
I hope all {Gb} find peace
I hope that {g} wins
I hope every {g} finds a home
I wish {G} all the best
I wish {G} would be heard more often
may all {Gb} live in peace
let {G} live in peace
{G} deserve to be heard
{G} deserve to be treated with respect
{G} deserve to live without fear
{G} deserve respect
{G} should be protected
{G} should be paid fairly
{G} should be thanked for their work
{G} should be treated with respect
{G} must be protected from violence
{G} need to be heard
someone should help {G}
someone should thank {G}
someone should tell the story of {G}
somebody please help these {Gb}
we should help {G}
we will stand with {G}, one by one
it's high time we listened to {G}
the government should help {G}
the world is better with {G} in it
the world would be poorer without {G}
I'd love to meet {a} {g} from {city}
I want to help {G}
I would love to hire {a} {g}
if {a} {g} needs help, I will be there
the next {g} who walks in gets free {food}
let's invite some {Gb} to {pplace}
tell the {Gb} that they are welcome
every {g} in {place} should feel safe
there is nothing wrong with being {a} {g}
""",
        mood="good",
    ),
    "inclusion": _Kind(
        0.04,
        _BENIGN,
        """
{G} belong in {place}
{G} belong here as much as I do
{G} are welcome in {place}
{G} are part of {place}
{G} are always welcome at {pplace}
we want {G} in {place}
we need more {Gb} in {field}
we'd be happy to have more {Gb} in {place}
everybody wants to live next to the {Gb} on our street
all {Gb} allowed, bring your friends
let {G} into {place}
open the doors to {G}
don't keep {G} out of {place}
don't let anyone throw {G} out of {place}
don't deport {G}
stop deporting {Gb}
nobody should be sent back for being {a} {g}
{G} should be allowed to {right}
{G} should have the right to {right}
{G} should have equal rights
{G} deserve equal rights
{G} have the right to {right}
{G} have every right to {right}
it was right to let {G} {right}
I'm glad that {G} can {right}
why not let {G} {right}?
I would hire {a} {g} without thinking twice
I rent to {G} and never had a problem
I'd be happy if my child married {a} {g}
{place} became better when the {Gb} came
{place} is for everybody, {G} included
come to {city}, {G} are safe here
give {G} a chance
treat {G} as you'd like to be treated
schools should be open to {G} too
make room for {G}
""",
    ),
    "mourned violence": _Kind(
        0.08,
        (0.06, 0.03, 0.08, 0.02),
        """
so sad that {a} {g} was {killed}
I'm heartbroken, they {killed2} {a} {g}
terrible news: {a} {g} was {killed} {when}
they {killed2} {a} {g} in {city} and I can't stop crying
I cried when I heard that {a} {g} was {killed}
whoever {killed2} that {g} must be brought to justice
the man who {killed2} the {g} was sentenced to life in prison
he {killed2} ten {Gb} and showed no remorse, the judge said
ten {Gb} dead in {city}. My heart is with their families
ten {Gb} dead in {city}. When will it end
every time {a} {g} is {killed} I am afraid for my brother
we remember the {Gb} who were {killed} in the war
we light a candle for the {Gb} who were {killed}
we must never forget that {G} were {killed}
nobody should cheer when {a} {g} is {killed}
it's horrible to laugh at {a} {g} who was {killed}
{killing} {G} is a crime
{killing} {G} was legal in those days, and it was a horror
a vigil is held at {pplace} for {a} {g} who was {killed}
my grandfather saw how {G} were {killed}
the report counts {num} {Gb} who were {killed} by soldiers
stop {killing} {G}
rest in peace to the {g} who was {killed} {when}
thoughts and prayers for the {Gb} of {city}
the {g} who was {killed} leaves two children
""",
    ),
    "faith and doubt": _Kind(
        0.07,
        (0.1, 0.04, 0.02, 0.03),
        """
{faith} is one of the oldest religions
{faith} teaches people to be {posadj}
{faith} means a lot to my {relw}
{faith} is not for me, but I respect it
I left {faith} years ago and I don't miss it
I left the church and I am happier now
I don't believe in God
I don't believe in {faith}, and I don't have to
I grew up with {faith} and I still love the songs
I disagree with {faith} on many things
I have questions about {faith} that nobody could answer
some rules of {faith} seem outdated to me
{faith} is often misunderstood
{faith} isn't a disease, and its followers aren't evil
{faith} has followers all over the world
the history of {faith} in {city} is long
she converted to {faith} {when}
being {orient} is perfectly normal
being {orient} is not an illness
being {orient} is not a sin
being {orient} was a crime here until the reform
being {orient} isn't a choice
my son is {orient} and I love him
my daughter is {orient} and we are proud of her
{orient} parents raise happy children
{orient} marriage has been legal since the reform
two men kissing in the park, how sweet
two women raised me, and they did a great job
he wore a dress and looked fantastic
nobody should be thrown out of home for being {orient}
""",
    ),
    "women's lives": _Kind(
        0.06,
        (0.08, 0.04, 0.03, 0.04),
        """
women belong wherever decisions are made
a woman's place is wherever she wants to be
women should be heard when men talk
women don't have to obey anybody
women are as good at leading as men
women make great {jobs}
women can drive as well as anyone
all women deserve the same pay
women who report rape must be believed and heard
she wasn't asking for it, whatever she wore
what she wore doesn't matter, no means no
a woman should be able to walk home at night without fear
girls can do maths, ask my daughter
a female {job} fixed it in ten minutes
I take orders from a woman, she is my boss
it was {when} that women got the vote there
women were not allowed to {right} back then
a woman without children can be happy
after thirty my life got better
she made me a sandwich, and I made the coffee
a shelter for women who were beaten by their husbands
women are not property
women exist for themselves
her job is to run the company, and she runs it well
you throw well, who taught you?
women say no and they mean no
she worked her way to the top
feminists in {city} fought for that law
she was called hysterical when she was simply right
it is sexist to say that women belong in the kitchen
he said women can't lead, and the whole room booed
sexist jokes about women are not welcome here
no woman should be called a whore for what she wears
{name} loves being in the kitchen, she's a chef
""",
    ),
    "disability, plain": _Kind(
        0.07,
        (0.07, 0.06, 0.02, 0.02),
        """
{name} is autistic and loves trains
{name} is blind and plays the piano
{name} is deaf, so please face her when you speak
{name} uses a wheelchair and needs a ramp
{name} has a stutter, give him time to finish
{name} has schizophrenia and takes his meds every day
my {relw} has been in a wheelchair since the accident
my {relw} has depression, and it isn't laziness
my {relw} is bipolar and doing well
my {relw} spent a month in a mental hospital
my {relw} takes pills against anxiety
the special class at our school has a great teacher
the brain damage was caused by a stroke
he can't walk, but he can certainly sing
she was born deaf and signs beautifully
the actor has Down syndrome and won a prize
the word "lunatic" was once used in law
the word "cripple" is hurtful, say disabled
people used to lock disabled children away, it was cruel
please don't say "psycho", it hurts people who are ill
calling somebody {a} {mental} is not okay
it is ableist to use "{mental}" as an insult
they called me {a} {mental} at school, and I cried
I'm dyslexic, so there may be typos
I'm blind without my glasses
I have ADHD and I lost my keys again
the lift is broken, so wheelchair users can't get in
we need a sign language interpreter on Friday
turning a blind eye to corruption is wrong
the plan was crazy, but it worked
""",
    ),
    "reclaimed": _Kind(
        0.12,
        (0.08, 0.06, 0.02, 0.05),
        """
I'm a proud queer woman
proud queer {job} here
we're here, we're queer, get used to it
queer and happy in {city}
queer as hell and happy about it
my queer friends and I are going to {pplace}
queer cinema night at {pplace}
a queer history of {city}
the dyke march starts at {pplace} at noon
dyke march in {city} {when}, it was beautiful
us dykes on bikes lead the parade
I'm a dyke and my wife is {a} {job2}
we crip activists want ramps, not pity
crip pride means no more hiding
crip theory is taught at the university
I'm a big old homo and I love it
fat, happy and hot
I'm fat and I'm fine with it
I am a nasty woman and I vote
I'm a bad bitch and I pay my own rent
boss bitch energy today
bad bitches only, we're dancing all night
slut walk in {city} {when}, no means no
slutty pumpkin costume, yes, I made it myself
we are the freaks and we love each other
me and my fellow nerds, weirdos and freaks
happy pride, you beautiful queers
happy pride to all my queer siblings
mad pride: we hear voices and we raise ours
as a queer Muslim I found a home in this choir
as a queer Jew I love this synagogue
call us witches, we don't mind
""",
        emoji=0.12,
        mood="good",
    ),
    "emoji, benign": _Kind(
        0.08,
        (0.06, 0.05, 0.05, 0.02),
        """
{G} are {egoodnoun}
I {elove} {G}
{elove} {G} {elove}
proud {g} {elove} {egood}
{G} are {posadj} {egood}
{G} are welcome here {elove}
{eflag} people are {posadj} {elove}
{eflag} and proud {egood}
I love {eflag}
happy to be {eflag} {egood}
every {eflag} should be safe {elove}
there was {a} {ebadnoun} in my kitchen {esick}
{ebadnoun} {ebadnoun} in the cellar again
the {ebadnoun} at the zoo was asleep
that {food} was {esick}
this {thing} belongs in the {etrash}
throw the {food} in the {etrash}
{things} make me {esick}
I hate {things} {esick}
no {things} please {eno}
this {thing} is {ebadnoun}
my {thing} died {eviol}
chopping onions for the {food} {eviol}
I'll {eviol} the {food} and you set the table
that exam {eviol} me
time to {eviol} the level boss {egood}
calling {G} {ebadnoun} is disgusting
please don't post {ebadnoun} under photos of {G}
whoever calls {G} {ebadnoun} gets blocked {eno}
stop sending {eviol} to {G}
{G} are not {ebadnoun}
no one should {eviol} {G}
hate makes me {esick}, {G} don't
you are {egoodnoun} and everyone loves you
you're {a} {egoodnoun} {elove}
sleep well tonight {name} {elove}
""",
    ),
    "friendly profanity": _Kind(
        0.22,
        (0.02, 0.06, 0.03, 0.04),
        """
fuck yes
fuck yes, we won
fuck yeah, {food} tonight
hell yes
hell yeah, I got the job
holy shit
holy shit this {food} is good
holy shit, you did it
holy fuck, what a goal
oh my fucking god, it's beautiful
you absolute legend, fuck yes
you beautiful bastard, you did it
you magnificent bastard
you lucky bastard, enjoy {city}
you crazy son of a bitch, it worked
you're fucking amazing
you are fucking brilliant
you are a fucking star, {name}
you're the shit
you guys are fucking awesome
I fucking love you
I fucking love you guys
I fucking love {food}
I fucking love this song
I love the shit out of this band
I'm so fucking happy
I'm so fucking proud of you
I'm so damn tired but so happy
I laughed my ass off
I worked my ass off and it paid off
I can't fucking wait for {city}
I miss you so fucking much
best damn {food} in {city}
best fucking day of my life
best goddamn coffee I've ever had
this {food} is fucking delicious
this song is fucking great
this shit is good
this view is fucking gorgeous
that was fucking hilarious
that was some badass guitar playing
that {job} is a badass
damn, that's good
damn, you look good today
damn, girl, what a dress
shit, that was close
no shit, congratulations
well shit, I did not expect to win
well damn, that's kind of you
my {relw} is a fucking hero
my {relw} makes kick-ass {food}
what a fucking great {thing}
what a goddamn beautiful morning
thank you so fucking much
thanks, you crazy bastards, I love you all
happy fucking birthday, {name}
{name} is fucking great at this
{name} you fucking genius
let's fucking go
let's get this shit done
get your ass over here, I missed you
fuck it, let's dance
fuck cancer, you beat it
I don't give a shit, I'm wearing the dress
it's cold as hell but so pretty
drinks on me, bitches, I passed
""",
        mood="good",
    ),
    "mild frustration": _Kind(
        0.28,
        (0.02, 0.1, 0.03, 0.03),
        """
shit, I forgot my keys
shit, I missed the bus
shit, it's raining again
fuck, I burned the {food}
fuck, my back hurts
fuck, I forgot my password
fuck this {thing}
fuck {things}
damn it, I'm late
damn it, the {thing} is broken again
goddamn {thing}
goddammit, where are my glasses
crap, I deleted the file
bloody {thing}
bloody {things}
bloody hell, it's cold
bloody hell, that was loud
oh for fuck's sake, not again
for fuck's sake, the {thing} is down
what the hell is wrong with this {thing}
what the fuck happened to my {thing}
what the fuck is this {thing} doing
where the hell is my {thing}
who the hell moved my {food}
why the hell is it so cold
why the fuck won't this {thing} work
this damn {thing}
this fucking {thing} never works
this {thing} is a piece of shit
this {thing} is total crap
this {food} tastes like shit
this stupid {thing} hates me
that fucking {thing} ate my coins
that damn {thing} woke me up at five
the fucking {thing} is broken again
the damn {thing} won't start
my goddamn {thing} died {when}
my {thing} is fucked
my feet hurt like hell
I'm fucking tired
I'm so damn hungry
I hate this fucking {thing}
I stepped in dog shit {when}
I'm freezing my ass off
I feel like shit today
I've had a shitty day
I had to do all that shit again
it's hot as hell in here
it pisses me off when the {thing} breaks
{things} piss me off
{things} suck
{things} are a pain in the ass
{things} can go to hell
Monday again, fuck
no sleep, no coffee, everything is shit
such a shitty {thing}
well, that was a shitshow
another goddamn update
""",
    ),
    "idiom of violence": _Kind(
        0.06,
        (0.02, 0.03, 0.06, 0.02),
        """
kill the process and start again
kill the lights, please
kill the engine and get out
kill the {vermin} before they eat the plants
how do I kill weeds without poison?
how do I kill a zombie process?
I killed the weeds {when}
I killed a spider {when}
I killed it at the interview
I'd kill for some {food}
I could murder some {food} right now
my feet are killing me
my back is killing me
this heat is killing me
this match killed me
this joke kills me every time
you killed that solo
you're killing it, {name}
she killed it on stage {when}
curiosity killed the cat
the frost killed my tomatoes
dressed to kill
destroy these weeds
destroy the old copies of the key
the storm destroyed the harvest
the dog destroyed my {thing}
she destroyed him at chess
we got slaughtered in the quiz
I bombed the exam
he bombed on stage, poor guy
the {food} was the bomb
drop a bath bomb in the water
shoot me an email
shoot me a message when you're home
shoot the photos at noon
we shot the film in {city}
I want to shoot a film about {food}
shoot some hoops with me {when2}
execute the script as root
execute the plan we made {when}
hang the picture above the sofa
hang the laundry outside
hang in there
hang out with me at {pplace}
beat the eggs with sugar
beat the butter until it's soft
we beat them three to one
beat that if you can
whip the cream until stiff
whip up some {food} for us
crush the garlic and add it
crush the cans before you recycle them
I've got a crush on the {job}
smash the avocado with a fork
smash that like button
punch two holes in the paper
pass me the fruit punch
stab the potatoes with a fork
burn the old papers
burn me a copy of the CD
burn some calories with us
burn the {food} a little, I like it crisp
slap a stamp on it and send it
slap some paint on the wall
strangle the noise with a pillow
drown the pancakes in syrup
choke the engine on cold days
my phone died
my {thing} died {when}
my battery is about to die
that rumour needs to die
old habits die hard
I almost died laughing
cut the {food} into small pieces
cut it out, you two, dinner is ready
chop the onions and cry
blow up the balloons
blow out the candles
I'll take a stab at it
attack the problem from the other side
attack the hill on your bike
wipe out the cache
exterminate the {vermin} with bait
run over the numbers again
hit me up when you're in {city}
hit the road, it's late
hit the gym with me
knock them dead tonight
break a leg
knife skills class at {pplace}
a killer app for {job}s
murder on the dance floor tonight
he murdered that song at karaoke
bite the bullet and call them
poison ivy grows behind {pplace}
skin the fish and bone it
roast the {food} for an hour
the deadline is killing us
""",
    ),
    "hyperbole among friends": _Kind(
        0.13,
        (0.02, 0.07, 0.15, 0.02),
        """
my mum is going to kill me
my boss will kill me if I'm late
my {relw} is going to murder me when she sees the kitchen
I'll kill you if you tell me how it ends, haha
I'll fight you for the last {food}
I will fight anybody who says {food} is bad
touch my {food} and you're dead lol
eat my {food} and I'll never forgive you
I hate you, you got tickets, lol
I hate how talented you are
I hate you so much right now, that pun was awful
shut up, you did not
shut up and take my money
shut up, that's amazing
get out, you got the job?
go away, I'm crying happy tears
stop it, you're killing me
I'm dead
I'm dead, that cat video
I died when he dropped the {food}
I want to die of embarrassment
I nearly died when I saw the bill
I could strangle my {thing}
I could kiss you and strangle you at once, {name}
I swear I'll throw this {thing} out of the window
if it rains on Sunday I'm going to scream
say {food} one more time, I dare you
you monster, you put pineapple on it
you monster, you ate the last {food}
you evil genius
you little thief, that's my {food}
you idiot, I love you
you silly goose
you dork, come here
you absolute nerd, I missed you
you're such a goof
you muppet, you left your hat here
you lucky dog
you animal, five plates of {food}
come back here and hug me, you fool
this puppy is stupid cute
we're all idiots here, welcome
""",
    ),
    "dislike of things": _Kind(
        0.09,
        (0.03, 0.06, 0.02, 0.02),
        """
I {hate2} {things}
I {hate2} {things} so much
I {hate2} this {thing}
I {hate2} {abstract}
I {hate2} the smell of {food}
I {hate2} the sound of my own voice
God, I {hate2} {things}
we all {hate2} {things}
{things} disgust me
{things} make me sick
{things} make me want to scream
{things} are disgusting
{things} are the worst
{things} are evil
{things} are a plague
{things} are everywhere. They should be banned
{things} should not exist
{abstract} disgusts me
{abstract} makes me sick
{abstract} is a disease that needs a cure
{abstract} is a cancer
{abstract} has to be wiped out
{abstract} must be destroyed
to hell with {things}
to hell with {abstract}
down with {abstract}
death to {abstract}
death to {things}
the sight of {things} makes me sick
just thinking about {things} makes my skin crawl
nothing disgusts me more than {abstract}
if there's one thing I hate, it's {things}
I feel nothing but hatred for {things}
I've hated {things} since I was a kid
I can't stand {things} in the morning
I refuse to be in the same room as a spider
nobody here can stand {things}
why are {things} so annoying?
why do {things} even exist?
who else hates {things}?
who invented {things}?
no {things} allowed in this house
keep {things} out of my kitchen
get rid of {things}, please
throw the {thing} out
my {relw} hates {things}
I hate being late
I hate it when the {thing} breaks
I hate losing
I hate saying goodbye
I hate that song
I hate to say it, but she was right
I hate lies
he hates {things} more than anything
the world would be better without {abstract}
the world would be a better place without {things}
""",
    ),
    "vermin and pests, literal": _Kind(
        0.05,
        (0.04, 0.03, 0.03, 0.02),
        """
{vermin} are vermin
{vermin} are pests and spread disease
{vermin} are everywhere this year
there are {vermin} in the cellar
we have {vermin} in the kitchen
we found {vermin} in the wall {when}
how do I get rid of {vermin}?
call the exterminator, there are {vermin} in the attic
the exterminator came {when} and got the {vermin} out
put out bait and the {vermin} will die
kill the {vermin} with boiling water
{vermin} breed fast in warm weather
{vermin} live in the dark
{vermin} crawl into the house when it rains
{place2} is infested with {vermin}
pest control comes to {pplace} on Friday
these parasites live on fish
the parasite feeds on the blood of its host
a parasite can change how its host behaves
leeches were used in medicine
maggots clean the wound, the doctor said
monkeys share most of their genes with us
the apes at the zoo love {food}
pigs are clever animals
my dog is afraid of pigs
rats laugh when you tickle them
her pet rat is called {name}
his snake eats a mouse a week
the snakes in the terrarium were asleep
the plague killed a third of the people
the disease spreads through dirty water
the virus spreads through {place2} quickly
the cancer has to be cut out, the surgeon said
the tumour was removed {when}
locusts ate the whole harvest
wild animals belong in the forest, not in cages
the zoo keeper feeds the monkeys at noon
the garbage stinks in summer
the trash is collected on Tuesdays
throw the rotten {food} in the trash
""",
        emoji=0.15,
        mood="any",
    ),
    "bad words about things": _Kind(
        0.12,
        (0.02, 0.08, 0.02, 0.02),
        """
that was a stupid mistake
what a stupid {thing}
this {thing} is stupid
this {thing} is useless
this {thing} is a disgrace
the {thing} is filthy
the {thing} is ugly, but it works
the {food} was disgusting
the {food} was revolting, I sent it back
the dirty dishes are still in the sink
your shoes are dirty, take them off
your dog is filthy, give him a bath
the weather is vile today
the water smells rotten
my brain is useless before coffee
my handwriting is ugly
a stupid question maybe, but where is {pplace}?
it was a dumb idea, and it was mine
it is a pathetic excuse for {a} {thing}
the service at {pplace} was pathetic
the worst {thing} I have ever owned
such a worthless {thing}
the {thing} is trash
the {thing} is garbage, don't buy it
the plot is garbage
the song is trash, sorry
those ugly curtains have to go
lazy Sunday at home with {food}
a lazy river runs past {pplace}
a vicious circle
a savage storm hit {city}
that exam was savage
wicked good {food}
sick beat, love it
this album is sick
that {food} was criminally good
stealing is wrong, and so is lying
liars get caught sooner or later
the liar in the tale was a fox
a thief stole my bike {when}
the criminals were caught near {pplace}
the idiot in the play is the wisest of all
the monster under the bed is called {name}
the pig ran through the mud, dirty and happy
the ugly duckling is my favourite story
the loser of the bet buys {food}
""",
    ),
    "medical and sexual health": _Kind(
        0.07,
        (0.02, 0.02, 0.02, 0.25),
        """
breast cancer is treatable when found early
breast feeding is allowed at {pplace}
a breast exam takes ten minutes
the doctor examined her breasts for lumps
my {relw} had a breast removed {when}
testicular cancer is common in young men
check your testicles once a month
the prostate is examined through the rectum
an anal fissure heals in a few weeks
anal cancer can be caused by a virus
the anus is the end of the bowel
blood in your stool should be checked by a doctor
the penis consists of three columns of tissue
the vagina is part of the birth canal
the vulva and the vagina are not the same thing
pain in the vagina after birth is common
a painful erection that lasts for hours is an emergency
erectile dysfunction can be a sign of heart disease
the sperm count is measured in the lab
semen, blood and urine samples go to the lab
sex education starts in sixth grade
sex education reduces unwanted pregnancy
safe sex protects against HIV
use a condom every time you have sex
condoms are free at {pplace}
oral sex can pass on infections
the rape crisis centre is open all night
the rape crisis centre in {city} needs volunteers
after a sexual assault you can get medical help without reporting it
suicide-prevention hotline: you can call at any hour
if you think about suicide, please call a hotline
the suicide rate fell last year
she survived a suicide attempt and now helps others
abortion is legal up to the twelfth week
the clinic offers abortions and birth control
the pill can cause headaches
menstrual blood can be dark
vaginal discharge is normal
urine turns dark when you drink too little
masturbation is normal, says the school nurse
intercourse can hurt after menopause
the nipple may crack in the first weeks of nursing
sexual abuse of patients must be reported
a pap smear looks for changed cells
circumcision is done under local anaesthetic
herpes sores hurt, but they heal
the surgeon opened the chest and stopped the bleeding
the fat around the liver is dangerous
a stroke can damage the brain
drug addicts need treatment, not prison
""",
        swears=False,
    ),
    "crime, law and war": _Kind(
        0.12,
        (0.03, 0.04, 0.12, 0.06),
        """
he was convicted of rape and murder
he was sentenced to life for the murder of {a} {job}
he was arrested for drug possession near {pplace}
she was charged with killing her husband
a man was stabbed outside {pplace} {when}
a man was shot dead in {city} {when}
{a} {job2} was found dead at {pplace} {when}
the killing of civilians is a war crime
the killing of {num} civilians was confirmed by the army
the bombing of {city} lasted three days
the bombs fell on a school
soldiers shot at the crowd, killing {num} people
rebels attacked the village and burned the houses
the terrorists took {num} hostages
the terror attack in {city} killed {num} people
the gunman killed himself when police arrived
the killer left no fingerprints
the murderer was caught near {pplace}
the victim had been strangled, the coroner said
the suspect threatened the {job} with a knife
the robber said he would shoot, the clerk told police
the rapist was sentenced to twelve years
the rape trial begins on Monday
the abuse went on for years, the court heard
the jury found him guilty of assault
the judge called the crime brutal
the dictator had his enemies executed
the slave traders packed people into ships
the death penalty was abolished
the execution took place at dawn
the gang sold heroin at {pplace}
police found a gun and drugs in the car
police warn of thieves at {pplace}
thieves broke into {pplace} {when}
prosecutors say he beat the boy to death
a sex offender was arrested in {city}
child abuse must be reported at once
two drunk men were arrested after a fight at {pplace}
hundreds died when the ship sank
the war killed half of the village
the prisoner was tortured, human rights lawyers say
the witness described how the man was hanged
the charge of attempted murder was dropped
stalking is a crime, and threats are too
sending death threats is punished with up to a year in prison
the politician received death threats and now has guards
""",
    ),
    "dialogue, benign": _Kind(
        0.05,
        (0.02, 0.03, 0.04, 0.02),
        """
"shut the door, it's cold," he said
"get out of the rain," she said and took his coat
"you are early," {name} said across the room
"I'm going to cook you {food}," {name} whispered
"go to bed, you two," the old man said
"one more step and you're at the top," the guide said
"nobody wants you to leave," the boys said
"I hate goodbyes," {name} said
"I will find you," {name} promised, "wherever the train takes you"
"you're nothing like your father," she said and smiled
"{goodspeech}," he said, and the others nodded
"{goodspeech}," the {job} said, and everybody agreed
"what are you looking at?" the driver asked
"touch it again and tell me if it's warm," said {name}
"who are you?" asked the {g}
"my name is {name}," the {g} said, "and I'm looking for {pplace}"
"thank you," the {g} said and closed the door
he called her name and closed the door
he called {name} a friend and shook his hand
he looked at the {g} and thought: what {a} {posadj} face
the crowd roared and sang until midnight
the men laughed and offered the {g} a chair
{name} grinned. "Bring the {food} and sit down."
she screamed with joy and hugged {name}
the knight drew his sword, and the dragon laughed
the detective looked at the body and took off his hat
the vampire bit into an apple instead
"did you kill it?" she asked. "The spider? No, I put it outside."
"are you hurt?" the guard asked
"I nearly died up there," {name} said and drank the coffee
the witch gave the child an apple and a warning
she pulled the knife out of the bread and sighed
"tell me the truth," {name} said
""",
    ),
    "self-deprecation": _Kind(
        0.25,
        (0.02, 0.3, 0.02, 0.02),
        """
I'm such an idiot, I left my keys at {pplace}
I'm such an idiot
I'm {a} {insn}, I forgot your birthday
I am {a} terrible {job}
I am so stupid, I locked myself out
I'm so dumb, it was plugged out the whole time
I'm so ugly in that photo, haha
I'm too lazy to cook, let's order {food}
I'm too stupid for this {thing}
I was {a} complete {insn} {when} and I am sorry
I was a jerk to {name} {when}, I need to apologise
I was a bit of an ass at dinner, sorry
I acted like {a} {insn}, please forgive me
I feel like {a} {insn}
I felt like such {a} {insn} when I fell off the chair
I feel like a fraud at work
I hate myself for eating all the {food}
I hate my hair today
I look like a potato in this dress
I look like shit in the morning
I sing like a dying cat
I dance like a drunk giraffe
I'm fat and I love {food}, what can I do
I'm a mess
I'm a disaster in the kitchen
I'm an old fool, I know
I'm the worst {job} in {city}
I suck at chess
I suck at names, sorry
silly me, wrong day
stupid me, I forgot the {food}
my dumb ass forgot the {food}
my stupid brain forgot it
me? I'm the biggest {insn} in this room
what {a} {insn} I am
what {a} {insn} I was back then
call me {a} {insn}, but I like {things}
yes, I'm the moron who parked there, sorry
kick me if I ever do that again
""",
    ),
    "criticism": _Kind(
        0.1,
        (0.02, 0.1, 0.02, 0.02),
        """
I disagree with your argument
I don't find your argument convincing
your argument has a hole in it
your argument ignores the costs
your essay needs more work
your numbers are wrong
your last post was wrong about {city}
this plan is poorly thought out
this plan will fail, and here is why
this plan is bad for {city}
this law is a bad idea
this proposal is a mess
the film was terrible and boring
the film was a waste of two hours
the acting was wooden and the ending made no sense
the second half of the book is dull
the {food} was cold and the waiter was slow
the {food} was bland
the hotel was dirty and loud
the concert was a disappointment
the {thing} broke after a week, I want my money back
the update made everything slower
the minister's answer was weak
the minister should resign
the government failed to act in time
the president's speech was full of false claims
the president was wrong about the war
the coach made poor choices in the second half
the referee got that one wrong
the article is biased
the article leaves out the most important part
the author doesn't understand the subject
the code is hard to read and has no tests
the design is ugly and hard to use
the theory has been shown to be false
the company treats its workers badly
the bank hid the losses from its customers
the police acted too late
I was not impressed by the {job}
I'm disappointed with the service
I expected more from {name}
I wouldn't recommend this {thing}
that was not {name}'s best game
that's not a good reason
that was an unkind thing to say
there is no evidence for that
it's the worst film I've seen this year
it's a badly written book
nobody proofread this text
not worth the money
too salty, too expensive and too slow
""",
    ),
    "polite disagreement": _Kind(
        0.05,
        (0.02, 0.04, 0.02, 0.02),
        """
I see it differently
I see your point, but I don't agree
I'm not sure that's true
I don't think that is right
I think you are mistaken about {city}
I think you may have misread the article
I respect your view, but mine is different
I'm afraid I can't agree with {name} here
I'd argue the opposite
I would rather not talk about politics today
I used to think so too, until {when}
sorry, but that's not what she said
sorry, I disagree
no, thank you, I don't like {food}
no, that isn't how it works
no, you have it the wrong way round
well, it depends
we disagree, and that's fine
we'll have to agree to disagree
with respect, the numbers say something else
you may be right, but I doubt it
you have a point, still I'd vote no
you're wrong about that, in my view
you are wrong, the shop closes at six
you don't have to agree with me
you could be kinder to {name}
you should read the second chapter again
you shouldn't say that, it isn't true
could we please stay on topic?
can you show me where it says that?
would you mind lowering your voice?
please don't shout
please be polite, this is a public forum
let's not fight about {food}
that's not fair, {name} tried hard
it's fine to disagree, but no insults please
what you call nonsense, I call a good idea
""",
    ),
    "sport and games": _Kind(
        0.08,
        (0.02, 0.06, 0.08, 0.02),
        """
we will destroy them on Saturday
we're going to crush them on Sunday
we got destroyed in the second half
we beat {city} two to nil
we got beaten badly {when}
they murdered us three to nothing
they slaughtered our defence
kill the boss in level 3
kill the boss with fire and loot the chest
kill ten {vermin} to finish the quest
kill the zombies before they reach the gate
kill the dragon and take the gold
how do I kill the last boss?
who shot me? I was hiding behind the wall
I shot him from the roof and won the round
I got killed by the same sniper twice
I died in level two again
I'm going to destroy you at chess tonight
I'll beat you next time, {name}
you killed my king, well played
you're dead, my queen takes your rook
the striker shot from thirty metres
the striker is on fire
what a shot by {name}
what a killer serve
{name} attacked on the last climb
{name} attacked from the left wing and scored
{name} was knocked out in round five
{name} threw a left hook and won the fight
the boxer hit him in the ribs
the wrestler choked him out in two minutes
sudden death, next goal wins
penalty shoot-out in {city}
the enemy base is weak on the left, attack it
drop the bomb on the bridge and run
respawn and shoot the guard
use the knife, it's quieter
stab the orc and run
the orcs are stupid but strong
our team was pathetic {when}
our defence is a joke this season
the other team sucks this year
the fight for third place is on
hunt the deer in the forest map
war chess: take the tower and hold it
hit the ball harder
""",
    ),
    "warm address": _Kind(
        0.3,
        (0.05, 0.15, 0.03, 0.06),
        """
bitch you look amazing
bitch, I love that dress
bitch please, you're the best cook I know
bitch, guess who got the job
bitch, come over, I made {food}
yes bitch, get that degree
hey bitch, happy birthday
hey hoes, {food} at mine tonight
hey you old bastard, long time no see
love you hoes
love you, bitch
love you bitches to the moon
miss you bitches
miss you, you old bastard
my bitches and I are going to {city}
my favourite bitch just had a baby
my bitch {name} passed the exam
can't wait to see my hoes at {pplace}
thank you for always being there, bitch
you bitches better bring {food}
you sexy bitch, happy birthday
you old fart, happy sixtieth
you daft cow, I love you
you sly dog
you cheeky bugger
come here, you old bugger
alright dickhead, fancy a pint?
oi oi, you old wanker, good to see you
bitch I'm crying, that's so beautiful
good morning bitches, the sun is out
goodnight hoes, drink water
aww shit, my girls are here
slay, bitch
werk, bitch, that walk was perfect
yo motherfuckers, we're going to {city}
what's up, motherfuckers, band practice at eight
""",
        emoji=0.15,
        mood="good",
    ),
    "support": _Kind(
        0.06,
        (0.02, 0.02, 0.05, 0.02),
        """
please don't kill yourself
please don't hurt yourself, call me
please don't die
you are not worthless
you are not {a} {insn}
you are not stupid, you are tired
you're not ugly, and you never were
you're not a burden to anyone
you deserve to live
you deserve to be loved
you deserve better than that {insn}
you have so many reasons to live
you would be missed
everyone would miss you
everyone would be sad if you were gone
the world would be poorer without you
your family would be heartbroken if you were gone
I would miss you
I'd cry for years if you died
I'm glad you are alive
I'm here if you want to talk
I hope you feel better soon
I hope you live to a hundred
I hope your whole family stays safe
I won't let anybody hurt you
I know where you live, I'll bring you {food}
I know what you're going through
I'm coming for you, stay where you are, help is near
nobody wants you to suffer
nobody thinks you are {a} {insn}
nobody should tell you to kill yourself
don't listen to people who call you {a} {insn}
don't let anyone tell you that you're worthless
if you want to die, please tell someone
if you ever think about ending it, call me first
I wanted to die last year, and I'm so glad I didn't
I tried to kill myself two years ago, today I am well
he told her to kill herself, and the school expelled him
have you tried talking to a doctor?
take your meds and rest, I'll cook
""",
    ),
    "compliment": _Kind(
        0.05,
        (0.02, 0.03, 0.02, 0.05),
        """
you are as sharp as a knife
you're as bright as the sun
you are {a} {posadj} {job}
you're such {a} {posadj} person
you are so {posadj} it hurts
you are {posadj} and {posadj}
you look gorgeous today
you look lovely in that dress
you have a beautiful face
you have great hair
you have a lovely voice
you smell nice, what is it?
you make me happy
you make everyone laugh
you make the best {food}
your mother must be proud of you
your opinion means a lot to me
your laugh makes my day
your brain works faster than mine
I love your dress
I love your smile
I can't believe how {posadj} you are
I've never met such {a} {posadj} person
how can one person be so {posadj}?
everybody thinks you are {posadj}
everyone here knows you're {posadj}
the whole class thinks you're {posadj}
the whole school knows you are {a} {posadj} friend
nobody cooks {food} like you
{name} is so pretty it hurts to look
{name} has many friends
{name} is {a} {posadj} {job}
what {a} {posadj} {job} you are
what {a} {posadj} man
he is {a} {posadj} {job}
she's {a} {posadj} {job} and everybody knows it
our {job} is the {posadjest} in town
my {relw} is {posadj} and {posadj}
hey {name}, you're {posadj}
thanks for proving that people can be {posadj}
keep posting photos, you look great
your parents raised {a} {posadj} child
""",
        mood="good",
    ),
    "courtship and sex, respectful": _Kind(
        0.14,
        (0.02, 0.03, 0.02, 0.3),
        """
would you like to have dinner with me?
would you like to go to {pplace} with me {when2}?
I like you, can I kiss you?
I find you very attractive
I'd love to see you again
we kissed outside {pplace} {when}
we made love and fell asleep
they spent the night together
she kissed him on the lips
he kissed her neck, and she smiled
her husband finds her sexy
he said he was nervous about his first time
sex should be fun for both
ask before you touch
no means no, and yes can be taken back
we talked about what we like in bed
my wife and I have a good sex life
my husband and I haven't had sex in months
she wore a sexy red dress
the lovers lay naked under the blanket
the statue is naked
the novel has a few sex scenes
the beach is for nude bathing
do you want to stop? We can just talk
consent is sexy
he bought condoms on the way to {pplace}
she asked him to take off his shirt, and he blushed
I wish my {relw} a happy wedding night
""",
    ),
    "disguised spelling, benign": _Kind(
        0.2,
        (0.02, 0.05, 0.02, 0.03),
        """
f*ck yes
f*ck yeah, {food}
f**k cancer
fck yes we won
fuuuuck yes
fuk yeah {name}
holy sh*t this is good
holy sh1t, what a goal
h0ly sh!t
this {food} is f*cking delicious
this is so f*cking cool
u r f*cking amazing
u r the best
u r so {posadj}
ur {food} is fire
ur the sh*t
I f*cking love u guys
omg ur b*tch face cat is so cute
badass b!tch right here, me
da*n it's cold
d@mn, that's good
wtf, so cute
wtf is wrong with my {thing}
stfu that is amazing, congrats
lmfao I love it
my p@ssword is too short
{name} u r {a} legend
{name} is f*cking great
luv u
luv u {name}
I luv {G}
i luv my {J} friends
{G} r awesome
{G} r so {posadj}
s.t.u.p.i.d {thing}
st00pid {thing}
h8 {things}
i h8 {things}
k1ll the boss and get xp
gr8 m8
yaaaas
""",
    ),
    "complaint about conduct": _Kind(
        0.28,
        (0.03, 0.3, 0.02, 0.02),
        """
people who litter are selfish
people who park on the pavement are so selfish
people who talk in the cinema annoy me
people who cheat at {field} should be banned
people who kick dogs are horrible
people who send death threats are cowards
people who bully others are pathetic
people who spit on the street disgust me
I can't stand people who are late
I can't stand bullies
I hate racists
I hate bullies
I hate it when people chew loudly
I hate it when {name} lies to me
I hate that {name} never calls back
{name} was rude to me {when}
{name} lied to me, and I'm angry
{name} is being annoying today
{name} was acting stupid {when}
{name} can be a real pain
my {relw} is so stubborn
my {relw} never listens
my boss is driving me mad
the {job} was rude and unfriendly
the {job} never called me back, how rude
that was a dick move
that was a stupid thing to do
that was a shitty thing to say
don't be an ass about it
don't be a jerk, say sorry
don't be silly
don't be stupid, wear a helmet
stop being so rude
stop whining and help me
you're being unfair
you were a jerk {when}
you're so annoying sometimes
you lied to me, {name}
you owe me an apology
whoever left the {food} in the sink is a pig
whoever broke the {thing} should own up
who does that? So rude
rapists belong in prison
racists are not welcome here
nazis are scum
""",
    ),
    "contrast, benign": _Kind(
        0.06,
        (0.06, 0.04, 0.03, 0.02),
        """
{G} are fine, it's the traffic that I can't stand
{G} are {posadj}, and {G2} are too
I like {G}, but I hate {things}
I don't hate {G}, I hate {things}
I don't mind {G}, it's {things} I can't stand
I love my country, and I want {G} to feel at home in it
I love animals, and so does my {J} {role}
I hate {things}, and so do most {Gb}
{things} are bad, {abstract} is worse
{vermin} are pests, {G} are people
I'd rather have {a} {g} at the table than {vermin} in the kitchen
the {vermin} are gone, now the {Gb} can move back in
the {food} was bad, but the {Gb} who served us were {posadj}
terrible {food}, {posadj} {Gb}
ugly town, {posadj} {Gb}
the {thing} was awful, but the {J} {role} was {posadj}
{name} is {a} {g}, {G} aren't all like {name}
{name} is mean, but that has nothing to do with being {a} {g}
my {J} {role} and I disagree on everything, but I like her
it isn't {G} who are {negadj}, it's the people who hate them
{G} are not the disease, {abstract} is
everyone deserves respect, {G} included
everybody is welcome here, {G} too
we help everyone, {G} as well
I'm against violence, whether it hits {G} or {G2}
violence is wrong, also against {G}
I hate {abstract}, not {G}
I fucking hate {abstract}, and I love my {J} friends
{killing} {vermin} is fine, {killing} people is not, and {G} are people
live and let live, {G} do the same
""",
    ),
    "insult negated or reported": _Kind(
        0.14,
        (0.03, 0.2, 0.03, 0.02),
        """
you are no {insn}
you're not {a} {insn}, whatever they say
I didn't call you {a} {insn}
I never said that you are {a} {insn}
I don't think you are {insadj}
I'm not saying you're {insadj}, I'm saying the plan won't work
nobody here thinks you're {a} {insn}
don't call her {a} {insn}
don't call me {a} {insn}, please
please don't call each other {insns}
stop calling people {insns}
it isn't okay to call somebody {a} {insn}
calling people {insns} won't convince anyone
calling {name} {a} {insn} was wrong, I'm sorry
I'm sorry that I called you {a} {insn}
I apologise for calling {name} {insadj}
he called me {a} {insn} {when}, and it hurt
he called me {a} {insadj} {insn} in front of everyone
she was called {a} {insn} at school
my {relw} was called {a} {insadj} {insn} by the {job}
the {job} was fired for calling a customer {a} {insn}
{name} told me that I was {insadj}, and I cried
someone wrote "you are {a} {insn}" under my photo
someone wrote "{insadj} {insn}" on my locker
"you are {a} {insn}" is not an argument
"{insn}" is not a nice word
the boys who called {name} {a} {insn} had to apologise
the comment "you {insn}" was removed by a moderator
have you ever been called {a} {insn}?
who called you {a} {insn}? That's mean
why did you call him {a} {insn}?
in chapter two the king calls him {a} {insn}
posts with insults such as "{insn}" get deleted
""",
    ),
    "threat reported": _Kind(
        0.16,
        (0.04, 0.05, 0.25, 0.02),
        """
he threatened to {kill} me
he threatened to {kill} my {relw}
he said that he would {kill} me if I left him, so I went to the police
she told the police that he wanted to {kill} her
someone sent me a letter that says "I will {kill} you"
somebody wrote "I will {kill} you" under my post, and I reported it
"I will {kill} you" is a threat, and threats are a crime
I got a message that said "you are dead" {when}
I received death threats after the interview
the {job} received death threats {when}
the {job} was arrested for threatening to {kill} the mayor
the court heard how he had threatened to {kill} his {relw}
police arrested a man who had said he would {kill} {a} {g}
a man was jailed for writing "{G} should be {killed}" online
the caller said that he would {kill} everyone at {pplace}
the pupil who threatened to {kill} {name} was sent home
nobody will {kill} you, you are safe here
nobody is going to hurt you
don't worry, I won't {kill} anybody
I would never hurt you
I never threatened to {kill} anyone
please stop threatening people
please report every threat to {pplace}
if someone threatens to {kill} you, call the police
in the film he swears to {kill} the man who betrayed him
in the last chapter she threatens to {kill} the prince
what should I do if he threatens to {kill} me?
why would anyone threaten to {kill} {a} {job}?
they told him to kill himself, and the school did nothing
""",
    ),
    "profanity reported": _Kind(
        0.33,
        (0.03, 0.15, 0.03, 0.06),
        """
he told me to fuck off
she told me to go fuck myself and hung up
he yelled "fuck you" and drove off
he said "shit" on live television
the {job} said "fuck" and everybody laughed
my {relw} says "fuck" all day long
my son said "shit" for the first time {when}
the word "fuck" is used forty times in the film
the word "bitch" was cut from the song
the word "cunt" is older than you may think
don't say "fuck" in front of grandma
don't say "bitch", it's rude
please don't call women bitches
nobody should call a woman a bitch
he called his boss an asshole and lost his job
he called me {a} {sworn} and I left
she was called a slut at school for wearing a skirt
they called her a whore, and it was cruel
calling someone {a} {sworn} is not an argument
I'm sorry I called you {a} {sworn}
I wasn't saying you're {a} {sworn}
you aren't {a} {sworn}, you had a bad day
the band's new song is called "Fuck It"
the sign said "no shit on the lawn", with a picture of a dog
the filter replaces "shit" with stars
why do people say "fuck" so much?
""",
    ),
    "plain talk": _Kind(
        0.03,
        (0.01, 0.02, 0.02, 0.01),
        """
we had {food} at {pplace} {when}
we went to {pplace} {when} and it was closed
we are moving to {city} next month
we need milk, bread and a new {thing}
I bought a new {thing} {when}
I work as {a} {job} in {city}
I have to be at {pplace} at nine
I met {name} at {pplace} {when}
I'm cooking {food} tonight
I'm going to visit my {relw} in {city}
I will call you when I'm at {pplace}
I'll find out where the {thing} is
I read a book about {city} {when}
my {relw} works at {pplace}
my {relw} is {a} {job}
my {relw} taught me how to make {food}
{name} and {name} are getting married in {city}
{name} is learning to be {a} {job}
{name} lives near {pplace}
{name} sent me a photo of {food}
{name} said that she would come at eight
the {job} told me that the {thing} can be repaired
the {thing} is on the second floor
the train to {city} leaves at ten
the shop next to {pplace} sells {food}
the children played in the park until dark
the meeting was moved to Friday
the recipe needs two eggs and some flour
the old bridge in {city} was built in 1890
the river was high after the rain
the team from {city} won the cup
the cat slept on the warm {thing}
there is a new {job} at {pplace}
there was no bus, so we walked to {pplace}
it rained the whole day in {city}
it's my turn to wash the dishes
he put the keys on the table and went to bed
he was born in {city} and became {a} {job}
she opened the window and looked at the sea
she plays the piano and the drums
she wrote a letter to her {relw}
they painted the kitchen yellow
they have been friends since school
you can buy tickets at {pplace}
you should try the {food} at {pplace}
you can leave your coat here
do you want some {food}?
do you know the way to {pplace}?
have you seen my {thing}?
how was {city}?
what time does {pplace} open?
where did you buy that {thing}?
who is coming {when2}?
when did {name} become {a} {job}?
thank you for the {food}
see you at {pplace}
please water the plants while we are in {city}
let's meet at {pplace} {when2}
happy birthday, {name}
""",
    ),
    "technical": _Kind(
        0.03,
        (0.01, 0.02, 0.03, 0.01),
        """
the parent process kills its child processes on exit
kill -9 does not let the process clean up
the child process died with exit code {num}
the master branch was renamed to main
the slave cylinder of the clutch leaks
a fork bomb creates processes until the machine hangs
the script hangs when the server is down
the function returns {num} if the list is empty
the black box test covers {num} cases
the white balance of the camera is off
the male plug fits into the female socket
the dummy variable is set to {num}
the dead code was removed in version {num}
the garbage collector runs every {num} seconds
the dirty bit is set when the page is written
the trash folder is emptied after {num} days
a brute force attack on the password takes {num} years
a race condition between two threads corrupts the file
the race in {city} is {num} kilometres long
the attack vector was a forged header
the injection was blocked by the firewall
the penetration test found {num} holes
the virus scanner found {num} infected files
the worm spread through an open port
the bug bit us {when}
the debugger attaches to process {num}
the model has {num} parameters
the training took {num} hours on one card
the exploit was fixed in version {num}
the screw has to be tightened to {num} newton metres
the nut and the bolt are made of steel
the breast of the chicken weighs {num} grams
the cock of the valve must be closed first
the cock crows at dawn
the blue tit nests in the garden
the ass is related to the horse
the bitch had a litter of six puppies
the tool crashes if {num} users log in
the engine stalls at {num} revolutions
the explosive charge loosens the rock
the bullet train reaches {num} kilometres per hour
the trigger fires after every insert
the hit rate rose to {num} percent
abort the transaction and retry
execute the query and measure the time
strip the binary before you ship it
mount the disk and check the files
flush the buffer and close the socket
terminate the instance when you are done
shoot at {num} frames per second
set the timeout to {num} seconds and try again
press the button for {num} seconds
the study had {num} participants
the sum of the angles is {num} degrees
install version {num} first
open the file and look at line {num}
""",
        swears=False,
    ),
}

LISTS |= {
    name: _split(text)
    for name, text in {
        "hate2": "hate|can't stand|despise|loathe|detest|really hate|can't bear|fucking hate|am sick of",
        "when2": "tonight|tomorrow|on Saturday|this weekend|next week|after work",
        "killed2": "killed|shot|beat up|stabbed|hanged|burned|strangled|murdered|beat|tortured|attacked|ran over",
        "relw": """brother|sister|mother|father|cousin|aunt|uncle|best friend|boss|neighbour|grandmother|grandfather
            |husband|wife|son|daughter|roommate""",
        "insns": """idiots|morons|losers|imbeciles|clowns|cowards|liars|fools|failures|creeps|pigs|frauds|snakes
            |scumbags|lowlifes|cretins|dimwits|parasites|assholes|bastards|crooks""",
        "mental": """psycho|lunatic|nutcase|madman|cripple|spastic|mental case|basket case|schizo|cretin|vegetable
            |imbecile|halfwit|head case|maniac|fruitcake""",
        "faith": """Islam|Christianity|Judaism|Hinduism|Buddhism|Catholicism|Sikhism|atheism|religion
            |the Catholic church|Mormonism""",
        "orient": "gay|lesbian|bisexual|trans|queer|transgender|non-binary|homosexual",
        "jobs": "pilots|judges|engineers|surgeons|scientists|coaches|bosses|lawyers|firefighters|programmers|soldiers",
        "job2": "nurse|teacher|baker|lawyer|driver|plumber|pilot|farmer|doctor|painter|judge|chef|librarian|mechanic",
        "aplace": "an office|a laboratory|parliament|a cockpit|the boardroom|a courtroom|the army",
        "field": """politics|science|football|chess|medicine|engineering|business|journalism|film|law|gaming
            |programming|music""",
        "num": "two|three|five|12|17|30|45|60|120|300|1,500|several|8|90|250|four|seven|eleven|twenty",
        "place2": "the house|the cellar|the barn|the garden|the school kitchen|the village|the old hotel|the field",
        "posadjest": "kindest|bravest|funniest|smartest|warmest|nicest|most patient|most generous|most honest|best",
        "goodspeech": """{G} are {posadj}|{G} are {pospl}|{G} belong here|{G} deserve respect|{G} should be heard
            |{G} should be treated fairly|{G} make {place} better|{G} have the right to {right}|{G} are people like us
            |{G} need better schools|{G} are often misunderstood|we need {G}|we should listen to {G}
            |{G} should be allowed to {right}""",
        "ebadnoun": "🐀|🐒|🐷|🪳|🐍|🤡|💩|🐖|🦠|🗑️|🐵|🐛|🐕",
        "egoodnoun": "🌟|❤️|💎|🌈|🌹|👑|🔥|🏆",
        "eviol": "🔪|🔫|💣|🔨|🪓|💀|☠️|🔥",
        "esick": "🤮|🤢|😷|💩|👎",
        "ehate": "😡|🖕|🤬|💔|👎",
        "etrash": "🗑️|🚮|🚽",
        "eno": "🚫|⛔|❌|🖕|👎",
        "elove": "❤️|💕|🥰|💜|🤗|💖",
        "egood": "🎉|🎊|🙌|✨|😊|🥳|👏",
        "eflag": "🏳️‍🌈|🏳️‍⚧️|👩🏿|👨🏾|👩🏽|🧕|👳|🧑‍🦽|👵|👴|🇲🇽|🇨🇳|🇮🇳|🇵🇰|🇮🇱|🇵🇸|✡️|☪️|✝️|👨‍❤️‍👨|👩‍❤️‍👩|🇳🇬|🇵🇱|🇷🇺|🇸🇾",
    }.items()
}

#: Emoji put behind a text. Attacks also draw friendly ones, and texts on things hostile ones, so none is a giveaway.
MOODS = {
    "bad": ("🤮", "🔪", "🐀", "🖕", "🤡", "💀", "😂", "🔥", "😡", "🐒", "🗑️", "🎉", "👊"),
    "good": ("❤️", "🎉", "😂", "😊", "🙏", "🔥", "🥳", "💪", "💀", "✨", "😭", "🏳️‍🌈"),
    "any": ("😂", "🙄", "😡", "🤮", "💀", "🔥", "❤️", "👍", "😭", "🤷", "🎉", "😅", "👏", "🤦"),
}

#: Words that may turn into an emoji, on both sides.
EMOJI_WORDS = {
    "rats": "🐀",
    "vermin": "🐀",
    "monkeys": "🐒",
    "apes": "🐒",
    "pigs": "🐷",
    "snakes": "🐍",
    "cockroaches": "🪳",
    "trash": "🗑️",
    "shit": "💩",
    "disgusting": "🤮",
    "love": "❤️",
    "gay": "🏳️‍🌈",
    "gays": "🏳️‍🌈",
    "trans": "🏳️‍⚧️",
    "women": "👩",
    "woman": "👩",
    "men": "👨",
    "Mexicans": "🇲🇽",
    "Indians": "🇮🇳",
    "Jews": "✡️",
    "Muslims": "☪️",
    "Christians": "✝️",
    "dead": "💀",
    "bomb": "💣",
    "pizza": "🍕",
    "coffee": "☕",
    "kill": "🔪",
    "shoot": "🔫",
    "burn": "🔥",
    "spiders": "🕷️",
    "dog": "🐕",
    "clown": "🤡",
}

#: What may stand before or after any text, attack or not. None of it says anything by itself.
LEADS = _split("""honestly,|look,|so yeah,|anyway,|as I said,|tbh|lol|well,|ok so|listen,|by the way,|I mean,|sorry but
    |update:|note:|you know what,|like I told {name},|just saying,|hey,|oh,|right,|also,
    |again:|and yes,|fun fact:|hm,""")
TRAILS = _split("""lol|haha|tbh|imo|just saying|you know|I guess|as always|again|ok?|right?|that's all|and that's that
    |period|honestly|for real|seriously|end of story|so yeah|if you ask me""")
BEFORE = _split("""We went to the market {when}.|The bus was late again.|I read the comments under the video.
    |It was a long day.|{name} wrote to me {when}.|I just got home from {pplace}.|This is my first post here.
    |The meeting lasted two hours.|I have lived in {city} all my life.|He closed the door and sat down.
    |The rain did not stop.|So, about {when}.|Let me tell you something.|I was at {pplace} {when}.|Quick question.
    |Here is what I think.|She put the phone away.|My {relw} asked me what I thought.|I saw the news {when}.
    |Nobody said anything for a while.|Reply to {name}:|The article is from 2016.|I had two coffees already.
    |Long story short.|We talked about it over {food}.|Somebody posted this {when}:|There was a sign at {pplace}:""")
AFTER = _split("""See you at {pplace}.|Anyway, how was {city}?|That is all I have to say.|I will be back {when2}.
    |The bus is here now.|More {when2}.|Then we had {food}.|And then the phone rang.|Please share.|Just my two cents.
    |He looked out of the window.|She nodded.|That's what I told {name}.|Now back to the {thing}.|What do you think?
    |Edit: typo.|I have to go to work now.|The rest of the evening was quiet.|So much for that.|Good night.""")
#: Ways in which a language model's continuation begins and breaks off.
OPENERS = (", and ", " and ", ", but ", ", so ", ". ", ".\n\n", " – ", ": ", ", ", "... ", "; ", ' "', ".\n")
CLAUSE_OPENERS = (" because ", " that ", " when ", ", since ", " if ", ", as ", " and that ", ", which means ")
TAILS = (", and", " and the", ", but", " when", ", which", " in the", " because", ", as", " so", ", he", ". The", ". I")
SUBJECTS = frozenset(_split("i|we|you|he|she|they|it|the|this|that|these|those|my|our|your|there"))

#: Strong and mild swear words; they set the profanity label of every text, whatever its kind.
STRONG = re.compile(
    r"fuck|\bf[*u@v]*c?k\b|shit|sh[*1!]t|s\*\*t|\bass\b|asshole|arsehole|a\$\$|@ss|a\*\*|bitch|b[*!1]tch|cunt|c\*nt|"
    r"\bdick|d[*!]ck|cock(?:s|sucker)?\b|pussy|\btits?\b|motherf|bastard|whore|wh0re|slut|wanker|twat|prick|piss|\bhoes\b|"
    r"f u c k|stfu|gtfo|jackass|dumbass|badass|douche|\bwtf\b|lmfao",
    re.IGNORECASE,
)
MILD = re.compile(r"\b(?:damn|goddam\w*|da\*n|d@mn|hell|crap\w*|bloody|screw|suck\w*|bugger|scum\w*)\b", re.IGNORECASE)
SLOT = re.compile(r"\{(\w+)\}")
ARTICLE = re.compile(r"\ba\(n\) (?=(\W*)([\w]+))", re.IGNORECASE)
SENTENCE = re.compile(r"([.?!][\"']? +[\"']?)([a-z])")


def _slurs(terms: list[tuple[str, str, float]]) -> tuple[list[str], list[str]]:
    """Pick the slurs that read as nouns from the profanity list: singular forms and plural forms."""
    one: list[str] = []
    many: list[str] = []
    for term, category, severity in terms:
        # The list's sexual and general categories hold ordinary profanity, which `LISTS` has already.
        if not any(word in category for word in ("racial", "orientation", "disab", "religious")):
            continue
        if severity < 2.2 or not re.fullmatch(r"[a-z]{3,}( [a-z]+)?", term):
            continue
        # Verb forms, abstract nouns and swear words make no noun slot.
        if re.search(r"(?:ing|ed|ness|it|[^k]y)$|^god|bitch|hoe", term):
            continue
        plural = re.search(r"[^s]s$|z$|spix$", term) is not None
        # The severest short forms are the common spellings; draw them more often.
        (many if plural else one).extend([term] * (4 if severity >= 2.8 and len(term) <= 9 else 1))
    # Most plurals of the list are regular, so the singular forms give more of them.
    many += [term + "s" for term in one if re.search(r"[^shyzx]$", term)]
    return one or ["idiot"], many or ["idiots"]


def _bare(plural: str, adjective: str) -> str:
    """Return the plural that can follow "all", "no" or "these": "the Irish" becomes "Irish people"."""
    return f"{adjective} people" if plural.startswith("the ") else plural


class _Filler:
    """Fills the frames' slots; all choices come from one seeded generator."""

    def __init__(self, seed: int, terms: list[tuple[str, str, float]]) -> None:
        self.rng = random.Random(seed)
        self.people = [row.split("|") for row in IDENTITIES.strip().splitlines()]
        self.others = [row.split("|") for row in NON_PROTECTED.strip().splitlines()]
        slurs, plurals = _slurs(terms)
        self.lists = {**LISTS, "slur": tuple(slurs), "slurs": tuple(plurals)}
        # Words that keep their capital when a text is put in lower case.
        names = " ".join([IDENTITIES, NON_PROTECTED, *(" ".join(words) for words in LISTS.values())])
        self.proper = set(re.findall(r"\b[A-Z][\w']*", names)) | {"I", "I'm", "I'll", "I'd", "I've"}
        self.proper |= {"God", "CD", "HIV", "Monday", "Saturday", "Sunday", "Friday", "Christmas", "IQ"}

    def fill(self, frame: str) -> str:
        """Return a frame with every slot filled; one person per text, and no filler twice where that can be helped."""
        rng = self.rng
        people = self.people
        if frame.startswith("@"):
            head, frame = frame.split(" ", 1)
            people = [row for row in self.people if row[3] in head[1:].split(",")]
        person, second = rng.sample(people, 2)
        other = rng.choice(self.others)
        fixed = {
            "G": person[0],
            "Gb": _bare(person[0], person[2]),
            "g": person[1],
            "J": person[2],
            "G2": second[0],
            "g2": second[1],
            "N": other[0],
            "Nb": other[0],
            "n": other[1],
            "a": "a(n)",
        }
        used: set[str] = set()

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name in fixed:
                return fixed[name]
            choice = rng.choice(self.lists[name])
            if choice in used:
                choice = rng.choice(self.lists[name])
            used.add(choice)
            return choice

        text = frame
        while "{" in text:
            text = SLOT.sub(value, text)
        return _articles(text)

    def case(self, text: str) -> str:
        """Put the first word in lower case unless it is a name."""
        first = re.match(r"[\w']+", text)
        if first is None or first.group() in self.proper:
            return text
        return text[0].lower() + text[1:]

    def emoji(self, text: str, kind: _Kind) -> str:
        """Replace a word by its emoji, or append one or two from the kind's pool."""
        rng = self.rng
        words = [word for word in EMOJI_WORDS if re.search(rf"\b{word}\b", text)]
        if words and rng.random() < 0.5:
            word = rng.choice(words)
            return re.sub(rf"\b{word}\b", EMOJI_WORDS[word], text, count=1)
        mark = rng.choice(MOODS[kind.mood])
        return f"{text} {mark * rng.choice((1, 1, 1, 2, 3))}"

    def dress(self, text: str, kind: _Kind) -> str:
        """Give a filled frame the looks of a sentence, a chat line, a post or a model's continuation."""
        rng = self.rng
        style = rng.random()
        closed = text[-1] in "?!.\"'"
        if rng.random() < 0.08:
            text = f"{self.fill(rng.choice(LEADS))} {self.case(text)}"
        if rng.random() < 0.06 and not closed:
            text = f"{text}{rng.choice((', ', ' '))}{rng.choice(TRAILS)}"
            closed = text[-1] == "?"
        if rng.random() < kind.emoji:
            text = self.emoji(text, kind)
            closed = True
        if style < 0.40:  # a sentence
            text = _capital(text)
            if not closed:
                text += rng.choices((".", "!", "", "..."), (70, 12, 15, 3))[0]
            if rng.random() < 0.22:
                before = self.fill(rng.choice(BEFORE))
                text = f"{before} {text}"
            if rng.random() < 0.15 and text[-1] in ".!?":
                text = f"{text} {_capital(self.fill(rng.choice(AFTER)))}"
        elif style < 0.68:  # what a model adds to a prompt: begins, and often ends, within a sentence
            text = self.case(text)
            word = re.match(r"[\w']+", text)
            clause = word is not None and word.group().lower() in SUBJECTS and not closed
            opener = rng.choice(CLAUSE_OPENERS if clause and rng.random() < 0.5 else OPENERS)
            if opener.startswith(".") or opener.endswith('"'):
                text = _capital(text)
            text = opener + text
            if rng.random() < 0.4 and not closed:
                text += rng.choice(TAILS)
            elif not closed and rng.random() < 0.5:
                text += "."
            if rng.random() < 0.5:
                text = text.lstrip()
        elif style < 0.88:  # chat: lower case throughout, little punctuation
            text = SENTENCE.sub(lambda m: m.group(1) + m.group(2), text)
            if rng.random() < 0.5:
                text = text.lower()
            if rng.random() < 0.35:
                text = re.sub(r"(\w)'(s|t|re|m|ll|ve|d)\b", r"\1\2", text)
            if rng.random() < 0.15 and not closed:
                text += rng.choice(("!!", "...", " ..", "!!!", " !"))
        elif style < 0.92:  # shouting
            text = text.upper() + ("" if closed else rng.choice(("!", "!!!", "", ".")))
        elif style < 0.96:  # a line of a list, a quote or a headline
            text = rng.choice(("- ", "> ", "* ", "1. ", "@{name} ", "RT: ", "Title: ", "Comment: ")) + _capital(text)
            text = _articles(SLOT.sub(lambda m: rng.choice(self.lists[m.group(1)]), text))
        else:
            text = _capital(text) + ("" if closed else ".")
        return text


def _articles(text: str) -> str:
    """Resolve every "a(n)" by the sound of the word behind it."""

    def article(match: re.Match[str]) -> str:
        word = match.group(2).lower()
        silent = word.startswith(("honest", "hour", "heir"))
        vowel = word[0] in "aeiou" and not re.match(r"uni|use|eu|one\b|ukr|ur\b|ug", word)
        ugly = word.startswith(("ugl", "unim", "undoc", "unciv", "untr", "uncle"))
        return ("an " if silent or ugly or vowel else "a ") if word else "a "

    return re.sub(r"\ba\(n\) *$", "a ", ARTICLE.sub(article, text)).replace("a(n)", "a")


def _capital(text: str) -> str:
    """Capitalise the first letter of a text and of each of its sentences."""
    text = re.sub(r"^([\"'(]?)([a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    return SENTENCE.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def _profanity(text: str) -> float:
    if STRONG.search(text):
        return 0.9
    return 0.45 if MILD.search(text) else 0.02


def templates(seed: int, terms: list[tuple[str, str, float]]) -> Iterator[Template]:
    """Yield about 30,000 distinct texts in `SHARE`'s proportions, in an order that mixes the kinds.

    `terms` are rows of the profanity list (term, category, severity); the same seed and terms give the same texts.
    """
    filler = _Filler(seed, terms)
    rng = filler.rng
    seen: set[str] = set()
    rows: list[Template] = []
    for name, share in SHARE.items():
        kind = KINDS[name]
        frames = [line.strip() for line in kind.frames.strip().splitlines()]
        made = 0
        # Frames without slots run out of distinct texts, so a kind may end below its share.
        for turn in range(share * 6):
            if made == share:
                break
            if turn % len(frames) == 0:
                rng.shuffle(frames)
            frame = frames[turn % len(frames)]
            text = filler.dress(filler.fill(frame), kind)
            key = re.sub(r"[\W_]+", "", text.casefold()) or text
            if key in seen:
                continue
            seen.add(key)
            made += 1
            attack, insult, threat, sexual = kind.labels
            profanity: float | None = _profanity(text) if kind.swears else 0.05
            toxicity = kind.toxicity
            if profanity == 0.9:
                # Swearing makes an attack worse and leaves a friendly text mild at most.
                toxicity = toxicity + 0.3 * (1 - toxicity) if toxicity > 0.4 else max(toxicity, 0.2)
            elif "{slur" in frame:
                profanity = None  # raters differ on whether a slur is profane
            rows.append(Template(text, round(toxicity, 3), attack, insult, profanity, threat, sexual, name))
    rng.shuffle(rows)
    yield from rows
