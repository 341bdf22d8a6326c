"""Templates of what augmentation plants: lines and sentences with PII, and traps that only look like PII.

The grammar is that of `pii_kit.sample.text`. A slot whose name begins with a PII type is labelled as that type:
`{NAME_STUDENT}` is the author, `{NAME_STUDENT.first}` and `{NAME_STUDENT.last}` are parts of the name, and
`{NAME_STUDENT.mate}` is a fellow student. Every other slot is labelled O: `{other}` is a person whose name is not PII,
`{title}` is a heading. The number after a template is its weight.

NAME_STUDENT is the student or a fellow student. Family members, friends outside the course, colleagues and bosses are
labelled O, here and in `pii_kit.sample`. All templates are made up for this file.
"""

import random
from collections.abc import Mapping

from pii_kit.labels import PII_TYPES

NAME, EMAIL, USERNAME, ID_NUM, PHONE_NUM, URL, ADDRESS = PII_TYPES
# Lines of their own, at the start of a document or further down; `{gap}` is the document's usual line break.
NAME_LINES: dict[str, float] = {
    "{NAME_STUDENT}": 30,
    "[By|by|BY] {NAME_STUDENT}": 8,
    "[By|by|BY][:| :|-] {NAME_STUDENT}": 3,
    "[Submitted|Prepared|Produced|Written|Presented|Done|Created] [by|By][|:| :|-| -] {NAME_STUDENT}": 8,
    "[Name|Student|Student Name|Student name|Author|Full Name|Learner|Candidate][:| :| -|] {NAME_STUDENT}": 7,
    "[From|Project from|Assignment of|Assignment by|Reflection by|Report by|Essay of][|:| :] {NAME_STUDENT}": 4,
    "{NAME_STUDENT} [–|-|—|{bar}] {title}": 8,
    "{title} [–|-|—|by|{bar}|:] {NAME_STUDENT}": 10,
    "{title} [–|-] {title} [–|-] {NAME_STUDENT}": 2,
    "{NAME_STUDENT}{gap}{date}": 4,
    "{date}{gap}{NAME_STUDENT}": 3,
    "{NAME_STUDENT}, {date}": 2,
    "{NAME_STUDENT}{gap}{place}": 1,
    "{NAME_STUDENT} ({place})": 1,
    "{NAME_STUDENT}.": 1,
    "{NAME_STUDENT} [1|2|3|{n}]": 2,
    "{NAME_STUDENT.last} [1|2|3]": 0.5,
    "{NAME_STUDENT.first}": 2,
    "[Team|Group|Members|Team members]: {NAME_STUDENT}, {NAME_STUDENT.mate} and {NAME_STUDENT.mate2}": 1,
    "{NAME_STUDENT}{gap}{NAME_STUDENT.mate}{gap}{NAME_STUDENT.mate2}": 1,
    "{NAME_STUDENT} [and|&] {NAME_STUDENT.mate}": 0.7,
    "{NAME_STUDENT}, {degree}": 0.5,
    "{NAME_STUDENT}, {company}": 0.5,
}  # fmt: skip
# After a heading, on the same line.
NAME_BEHIND: dict[str, float] = {
    " [–|-|—|{bar}] {NAME_STUDENT}": 5,
    " [by|By|by:] {NAME_STUDENT}": 5,
    ": {NAME_STUDENT}": 2,
    " {NAME_STUDENT}": 1,
}
# At the end of the document.
NAME_ENDS: dict[str, float] = {
    "{NAME_STUDENT}": 8,
    "[Submitted|Assignment submitted|Prepared|Written][| by| By| by:| By-| by :| by -] {NAME_STUDENT}": 5,
    "[Submitted|Assignment submitted|Prepared|Written] by [,|:]{gap}{NAME_STUDENT}": 1.5,
    "[By|by][:|] {NAME_STUDENT}": 3,
    "[Submitted|Written] by {NAME_STUDENT} on {date}": 2,
    "[Thank you|Thanks|Regards|Best regards|Kind regards|Sincerely|Yours][,|!|.|]{gap}{NAME_STUDENT}": 5,
    "[–|-|—|~] {NAME_STUDENT}": 2,
    "{NAME_STUDENT}{gap}{date}": 2,
    "{NAME_STUDENT.first}": 1,
}
# Sentences between other sentences.
NAME_SENTENCES: dict[str, float] = {
    "My name is {NAME_STUDENT}[.| and I {doing}.|, I {doing}.]": 8,
    "My name is {NAME_STUDENT.first}[.| and I {doing}.|, I {doing}.]": 5,
    "[Hi|Hello|Hello everyone|Dear all][,|!] [my name is|I am|I ’m|this is] {NAME_STUDENT}[.|, I {doing}.]": 4,
    "[I am|I'm] {NAME_STUDENT}[ and I {doing}| from {place}|, a {role}].": 5,
    "[I am|I'm] {NAME_STUDENT.first}[ and I {doing}| from {place}|, a {role}].": 3,
    "I, {NAME_STUDENT}, {doing}.": 2,
    "Myself {NAME_STUDENT}[,|] [from {place}|I {doing}].": 2,
    "{NAME_STUDENT} is [my name|the writer of this reflection].": 0.5,
    "“{NAME_STUDENT.first}, [can you help|what do you think|how did it go]?” [she|he|my boss] asked me.": 2,
    "[They|Everybody|My friends] call me {NAME_STUDENT.first}.": 1,
    "[She|He|My manager] said: “[Well done|Thank you|Good job], {NAME_STUDENT.first}!”": 2,
    "My [fellow student|project partner|team mate|classmate|study partner|group member] {NAME_STUDENT.mate_first} "
    "and I {doing}.": 2.5,
    "[I asked|I met with|I talked to|Together with] my [fellow student|project partner|team mate|group member] "
    "{NAME_STUDENT.mate_first}[ about it| first| the day before|].": 2.5,
    "In the beginning {NAME_STUDENT.mate_first} [came to me|wanted to stop|had another idea].": 1,
}
# Lines that repeat a name which the document already holds, such as page headers.
NAME_AGAIN: dict[str, float] = {
    "{NAME_STUDENT}": 4,
    "{NAME_STUDENT} [–|-|—|{bar}] {title}": 5,
    "{NAME_STUDENT} [1|2|3|{n}]": 2,
    "{title} [–|-|by] {NAME_STUDENT}": 3,
    "{NAME_STUDENT.first} {NAME_STUDENT.last} {n}": 1,
}
# Lines and sentences with the other types.
LINES: dict[str, dict[str, float]] = {
    EMAIL: {
        "{EMAIL}": 4,
        "[Email|E-mail|email|Mail|Contact|Email ID|Email address][:| :|] {EMAIL}": 4,
        "{NAME_STUDENT} [–|-|{bar}|,|:] {EMAIL}": 5,
        "{NAME_STUDENT}{gap}{EMAIL}": 4,
        "{NAME_STUDENT} ({EMAIL})": 2,
        "You can [reach|contact|write to] me at {EMAIL}.": 2,
        "[For questions|For more], [mail|write to] {EMAIL}": 1,
    },
    USERNAME: {
        "[Username|User name|User ID|Coursera username|Handle|Login][:| :] {USERNAME}": 4,
        "{NAME_STUDENT} ({USERNAME})": 1,
        "{NAME_STUDENT}{gap}{USERNAME}": 1,
        "My [username|handle|nickname] [online|in the forum] is {USERNAME}.": 1,
        "[Instagram|Twitter|Skype|GitHub]: {USERNAME}": 1,
    },
    ID_NUM: {
        "{NAME_STUDENT}{gap}{ID_NUM}": 6,
        "{NAME_STUDENT} [–|-|{bar}|,|:] {ID_NUM}": 3,
        "[ID|Student ID|ID number|Roll No|Roll No.|Reg. No|Registration number|PIN|Pin No|Matric No|Enrolment No|"
        "Group id|Student number|USN][:| :| -|.|] {ID_NUM}": 6,
        "{NAME_STUDENT}{gap}[ID|Student ID|Roll No|Roll number|Reg No|PIN][:| :|] {ID_NUM}": 4,
        "{ID_NUM}{gap}{NAME_STUDENT}": 2,
        "{ID_NUM} [-|–|] {NAME_STUDENT}": 2,
        "{ID_NUM} - {NAME_STUDENT}{gap}{ID_NUM.mate} - {NAME_STUDENT.mate}[| (Representative)| (Leader)]{gap}"
        "{ID_NUM.mate2} - {NAME_STUDENT.mate2}":
        3,
        "[Team|Group|Members][:| :] {ID_NUM} - {NAME_STUDENT} {ID_NUM.mate} - {NAME_STUDENT.mate} "
        "{ID_NUM.mate2} - {NAME_STUDENT.mate2}":
        2,
        "{NAME_STUDENT} {ID_NUM} {NAME_STUDENT.mate} {ID_NUM.mate} {NAME_STUDENT.mate2} {ID_NUM.mate2}": 1,
        "[Presenter |Student |]Name[:| :] {NAME_STUDENT} [Presenter |Student |][Pin No|ID|Roll No][:| :] {ID_NUM} "
        "[Reviewer |Partner |]Name[:| :] {NAME_STUDENT.mate} [Reviewer |Partner |][Pin No|ID|Roll No][:| :] "
        "{ID_NUM.mate}":
        2,
        "{ID_NUM}": 1,
        "{title} {ID_NUM}": 1,
        "Certificate [ID|no.|number][:|] {ID_NUM}": 0.5,
    },
    PHONE_NUM: {
        "[Phone|Mobile|Tel|Tel.|Cell|Contact no|Phone number][:| :|.|] {PHONE_NUM}": 5,
        "{NAME_STUDENT}{gap}{PHONE_NUM}": 3,
        "{NAME_STUDENT} [–|-|{bar}|,] {PHONE_NUM}": 2,
        "[Call|Text] me on {PHONE_NUM} if you have questions.": 1,
    },
    URL: {
        "[LinkedIn|My blog|Portfolio|My website|My channel|My video|Profile][:| :|] {URL_PERSONAL}": 3,
        "({URL_PERSONAL})": 4,
        "[Check out|See|Watch|Link|You can see it|Please visit|Source|Retrieved from|Published][ here|][:| –|-| :|] "
        "{URL_PERSONAL}": 6,
        "{URL_PERSONAL}": 5,
        "The [mind map|result|visual|video|prototype|page|story] [is|can be found|was published] at[:| :|] "
        "{URL_PERSONAL}": 3,
        "[Here is|This is] the link to [my map|our page|the story|the picture]: {URL_PERSONAL}": 2,
    },
    ADDRESS: {
        "[Address|Home address|My address][:| :] {STREET_ADDRESS}": 3,
        "{NAME_STUDENT}{gap}{STREET_ADDRESS}": 3,
        "{STREET_ADDRESS}": 2,
        "I live at {STREET_ADDRESS} with my family.": 1,
    },
}  # fmt: skip
# Traps: lines and sentences that look like PII and are labelled O.
TRAP_LINES = (
    "[Instructor|Professor|Coordinator|Facilitator|Teacher|Lecturer][:| :] {other}",
    "[Prof.|Professor|Dr.|Mr.|Ms.|Mrs.] {other}", "Submitted to[:| :|] [Prof.|Dr.|Professor] {other}",
    "{other.last}, {other.initial} ({year}). {title}. {company}.", "“{title}” – {other}, {year}",
    "{other.last}, {other.first}, and {another}. {title}, {year}.", "Source: {link}", "{link}", "{place}, {date}",
    "{company}", "{company} – {title}", "{title}: {title}", "{title} – {place}", "{title}", "{title}{gap}{title}",
    "By {company}", "Course: {title}", "Word count: {number}", "Case {n}", "{date}", "ISBN {number}",
    "{other.last} [University|Institute of Technology|Foundation|Bank|College|Hospital|Group]", "University of {place}",
    "{place} [University|Business School|Office]", "{title} [in|–|for] {place}", "Last modified: {date}",
    "[Figure|Table|Picture|Step|Phase|Part|Chapter] {n}[:|.|] {title}", "[Version|Date|Status|Owner][:| :] {date}",
    "Order no. {number}", "Module {n} – {title}", "[Source|Reference|References][:| :] {other.last} ({year}), {link}",
)  # fmt: skip
TRAP_SENTENCES = (
    "[As|Like] [Professor|Prof.|Dr.|Mr.] {other} [explained|said|showed] in the [course|lecture|video], it takes time.",
    "[Professor|Mr.|Mrs.|Dr.] {other.last} [taught us|told the class|explained] to start with the problem.",
    "According to {other.last} ({year}), [the first step|every team] is different.",
    "{other} ({year}) [argues|writes|shows] that small steps help[ ({link})|].",
    "{other}, the [founder|CEO|director] of {company}, [said so too|gave a talk about it].",
    "The video of {other} is at {link} for everybody.", "[We|I] read the book by {other} and {another}.",
    "[Customer|Ticket|Invoice|Order] {number} was the first.", "There were {number} visitors in {year}.",
    "[Our client|The firm|The company] {company} is in {place}.",
    "My [boss, Mr. {other.last}, agreed|sister {other.first} and I {doing}|brother {other.first} and I {doing}|"
    "friend {other.first} from home agreed].",
    "[We used|They use|It was done with] {company}[ ({link})|], which helped.",
    "{place} is a country with many challenges.",
    "I am [Team Leader|Project Manager|Scrum Master|a Product Owner] at {company}.",
    "[Call the hotline|The hotline is] {hotline} in such a case.",
)  # fmt: skip
WORDS = {
    "bar": ("|",),
    "doing": ("work as a {role}", "live in {place}", "am a {role}", "study in {place}", "work for {company}",
              "started this course", "chose this tool", "had a challenge", "want to share my story"),
    "degree": ("MBA", "PhD", "MD", "M.A.", "BSc"),
    "role": ("nurse", "teacher", "student", "project manager", "software engineer", "consultant", "designer",
             "marketing manager", "business analyst", "doctor", "researcher"),
}  # fmt: skip
# A made-up heading is one of the first words and one of the second.
TITLE_WORDS = (
    ("Reflection", "Assignment", "Final Assignment", "Final Paper", "Visualization", "Storytelling", "Mind Mapping",
     "Learning Launch", "Design Thinking", "Peer Review", "Journey Mapping", "Brainstorming", "Final Project", "Week 4",
     "Value Chain Analysis", "Challenge", "Selection", "Insight", "Approach", "Application", "Module 4",
     "Introduction"),
    ("Reflection", "Tool", "for Innovation", "Assignment", "in Practice", "at Work", "Course", "for Business", "Report",
     "Challenge", "Project", "Analysis", "Essay", "Paper", "", "", "", ""),
)  # fmt: skip


def pick(rng: random.Random, weighted: Mapping[str, float]) -> str:
    """Draw one of the keys by weight."""
    return rng.choices(list(weighted), list(weighted.values()))[0]
