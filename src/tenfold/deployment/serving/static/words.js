// Everything the page says, in each of its languages.

export const WORDS = {
  en: {
    language: "English",
    title: "Try the model",
    about: "{name} is a {model} trained on {source}. It knows {count} classes: {classes}.",
    aboutTest: "It was right on {share} of {count} test images.",
    more: " and {count} more",
    between: ", ",
    afterSentence: " ",

    draw: "Draw",
    padLabel: "Drawing area for mouse, finger or pen. To use the keyboard, choose a file instead.",
    drawHint: "with mouse, finger or pen",
    undo: "Undo",
    clear: "Clear",

    files: "Use pictures",
    drop: "Drop pictures anywhere on this page, paste one with Ctrl+V, or choose here.",
    choose: "Choose files",
    photo: "Take a photo",
    pasted: "pasted picture",
    several: "{count} pictures",
    closeList: "Close this list",
    waiting: "waiting …",

    answer: "Answer",
    noAnswer: "The answer appears here as soon as you draw something or choose a picture.",
    noAnswerFilesFirst: "The answer appears here as soon as you choose a picture or draw something.",
    unsure: "unsure",
    mostProbable: "The {shown} most probable of {count} classes",
    allClasses: "All classes",
    announce: "{name}, {share}",
    announceUnsure: "Unsure: {name}, {share}, or {second}, {secondShare}",
    announceInverted: "{answer}, after inverting",
    announceCropped: "{answer}, after cropping",
    announceBoth: "{answer}, after inverting and cropping",

    seen: "What the network sees",
    seenSize: "{width} × {height} pixels",
    explain: "Show the reasons",
    speaksFor: "Blue: speaks for {name}",
    speaksAgainst: "Orange: speaks against it",
    noExplanation: "No reasons can be shown: {message}",

    invertedDark:
      "This picture is dark on light; the model was trained on light on dark, so it was inverted.",
    invertedLight:
      "This picture is light on dark; the model was trained on dark on light, so it was inverted.",
    straightDark:
      "This picture is dark on light; the model was trained on light on dark and may well be wrong.",
    straightLight:
      "This picture is light on dark; the model was trained on dark on light and may well be wrong.",
    cropped:
      "The training images have a larger or stronger subject, in the middle, so this picture was cropped to its own.",
    notFound:
      "Nothing in this picture stands out as the subjects of the training images do, so the answer means little.",
    whole:
      "The training images have a larger or stronger subject, in the middle; the model may well be wrong.",
    invert: "Inverted",
    crop: "Cropped to the subject",

    wrong: "Wrong?",
    rightAnswer: "The right answer",
    chooseClass: "choose …",
    save: "Save",
    savesSeen: "What is saved is the picture as the network sees it.",
    savesInverted: "What is saved is the inverted picture.",
    savesWhole: "What is saved is the picture as it is.",
    saved: "Saved as {name}, to train with.",
    takeBack: "Undo",
    takenBack: "Removed again.",

    history: "Last answers",
    showAgain: "{name}, {share}: show again",
    remove: "Remove {name}",
    undoRemove: "Undo remove",

    help: "How to read the answers",
    helpItems: [
      "The bars are the model's probabilities. It knows nothing but its classes and always chooses one of them, whatever the picture shows.",
      "“Unsure” means that the best answer has less than {least}, or leads the second by less than {lead} percentage points.",
      "The small picture shows all that the network gets. Blue parts speak for the answer: without them it would be less probable. Orange parts speak against it.",
      "Drawings are scaled and centered like the training images, so size and place do not matter.",
      "Pictures are sent to this server only. The last answers are forgotten when you close the page.",
    ],
    facts: "{version} · model {sha}",

    tokenTitle: "This server asks for a token",
    tokenNote: "Whoever started the server can tell you. It is kept until you close this tab.",
    tokenWrong: "The server did not accept this token.",
    token: "Token",
    useToken: "Continue",

    unreachable: "The server cannot be reached.",
    unreachableRemedy: "Check that it is still running and that you are connected, then try again.",
    busy: "The server is busy.",
    busyRemedy: "Try again in a moment.",
    failed: "The server had a problem.",
    refused: "This picture could not be classified.",
    notSaved: "This picture could not be saved.",
    notTakenBack: "The saved picture could not be removed.",
    unreadable: "{name} cannot be read.",
    unreadableRemedy: "Choose picture files; folders cannot be dropped here.",
    tooLarge: "{name} has {size} MB; the server accepts at most {most} MB.",
    tooLargeRemedy: "Choose a smaller picture.",
    nothingPasted: "There is no picture on the clipboard.",
    nothingPastedRemedy: "Copy a picture, not its address or text, and paste again.",
    tryAgain: "Try again",
    dismiss: "Close",
  },

  zh: {
    language: "中文",
    title: "试用模型",
    about: "{name}：在 {source} 上训练的 {model} 模型，可识别 {count} 个类别：{classes}。",
    aboutTest: "在 {count} 张测试图片上的准确率为 {share}。",
    more: "等",
    between: "、",
    afterSentence: "",

    draw: "画板",
    padLabel: "画板：用鼠标、手指或触控笔书写或绘画。使用键盘时，请改为选择图片文件。",
    drawHint: "用鼠标、手指或触控笔",
    undo: "撤销",
    clear: "清空",

    files: "使用图片",
    drop: "将图片拖到页面任意位置，按 Ctrl+V 粘贴，或点击下方按钮选择。",
    choose: "选择文件",
    photo: "拍照",
    pasted: "粘贴的图片",
    several: "{count} 张图片",
    closeList: "关闭列表",
    waiting: "等待中…",

    answer: "识别结果",
    noAnswer: "写点什么或选择一张图片，结果会立即显示在这里。",
    noAnswerFilesFirst: "选择一张图片或画点什么，结果会立即显示在这里。",
    unsure: "不确定",
    mostProbable: "共 {count} 个类别，以下是概率最高的 {shown} 个",
    allClasses: "全部类别",
    announce: "{name}，{share}",
    announceUnsure: "不确定：可能是 {name}，{share}；也可能是 {second}，{secondShare}",
    announceInverted: "反色后：{answer}",
    announceCropped: "裁剪后：{answer}",
    announceBoth: "反色并裁剪后：{answer}",

    seen: "模型看到的图像",
    seenSize: "{width} × {height} 像素",
    explain: "显示判断依据",
    speaksFor: "蓝色：支持“{name}”",
    speaksAgainst: "橙色：不支持“{name}”",
    noExplanation: "无法显示判断依据：{message}",

    invertedDark: "这张图片是浅色背景、深色主体，而模型是用深色背景、浅色主体的图片训练的，因此已自动反色。",
    invertedLight: "这张图片是深色背景、浅色主体，而模型是用浅色背景、深色主体的图片训练的，因此已自动反色。",
    straightDark: "这张图片是浅色背景、深色主体，而模型是用深色背景、浅色主体的图片训练的，结果很可能不准。",
    straightLight: "这张图片是深色背景、浅色主体，而模型是用浅色背景、深色主体的图片训练的，结果很可能不准。",
    cropped: "训练图片中的主体更大、更清晰，而且位于中央，因此已自动裁剪到这张图片的主体。",
    notFound: "这张图片里没有像训练图片主体那样突出的内容，结果没有多大意义。",
    whole: "训练图片中的主体更大、更清晰，而且位于中央；这张图片的结果很可能不准。",
    invert: "反色",
    crop: "裁剪到主体",

    wrong: "结果不对？",
    rightAnswer: "正确答案",
    chooseClass: "请选择…",
    save: "保存",
    savesSeen: "保存的是网络看到的图片。",
    savesInverted: "保存的是反色后的图片。",
    savesWhole: "保存的是原样的图片。",
    saved: "已保存为“{name}”，可用于训练。",
    takeBack: "撤销",
    takenBack: "已撤销保存。",

    history: "最近结果",
    showAgain: "{name}，{share}：再次查看",
    remove: "移除“{name}”",
    undoRemove: "撤销移除",

    help: "结果怎么看",
    helpItems: [
      "条形表示模型给出的概率。模型只认识训练过的类别，无论图片是什么，都只会从中选一个。",
      "最高概率低于 {least}，或只比第二名高出不到 {lead} 个百分点时，会标注“不确定”。",
      "小图就是模型实际看到的全部内容。蓝色部分支持这个结果，去掉后概率会降低；橙色部分则不支持。",
      "画板上的内容会像训练图片一样缩放并居中，大小和位置都不影响结果。",
      "图片只会发送到这台服务器；关闭页面后，最近结果不会保留。",
    ],
    facts: "{version} · 模型 {sha}",

    tokenTitle: "访问此服务器需要令牌",
    tokenNote: "请向服务器的启动者索取。令牌只保留到关闭此标签页为止。",
    tokenWrong: "令牌不正确。",
    token: "令牌",
    useToken: "继续",

    unreachable: "无法连接到服务器。",
    unreachableRemedy: "请确认服务器仍在运行、网络连接正常，然后重试。",
    busy: "服务器繁忙。",
    busyRemedy: "请稍后重试。",
    failed: "服务器出错了。",
    refused: "无法识别这张图片。",
    notSaved: "这张图片未能保存。",
    notTakenBack: "未能撤销保存。",
    unreadable: "无法读取 {name}。",
    unreadableRemedy: "请选择图片文件，不支持拖入文件夹。",
    tooLarge: "{name} 大小为 {size} MB，超过了服务器 {most} MB 的上限。",
    tooLargeRemedy: "请换一张小一点的图片。",
    nothingPasted: "剪贴板里没有图片。",
    nothingPastedRemedy: "请复制图片本身，而不是图片地址或文字，再重新粘贴。",
    tryAgain: "重试",
    dismiss: "关闭",
  },
};

const KEPT = "tenfold-language";

let language = chosen() ?? preferred();

function chosen() {
  try {
    const kept = localStorage.getItem(KEPT);
    return kept in WORDS ? kept : null;
  } catch {
    return null; // storage is switched off in this browser
  }
}

function preferred() {
  const wanted = navigator.languages.map((tag) => tag.split("-")[0]);
  return wanted.find((tag) => tag in WORDS) ?? "en";
}

export const other = () => (language === "en" ? "zh" : "en");

export const nameOf = (tag) => WORDS[tag].language;

export const tagOf = (tag) => (tag === "zh" ? "zh-CN" : tag);

export const languageTag = () => tagOf(language);

export function use(tag) {
  language = tag;
  try {
    localStorage.setItem(KEPT, tag);
  } catch {
    // it is chosen for this visit only
  }
}

// The text of a key in the current language, with `{name}` replaced by `values.name`.
export const say = (key, values = {}) => filled(WORDS[language][key], values);

export const sayAll = (key, values = {}) => WORDS[language][key].map((t) => filled(t, values));

const filled = (text, values) =>
  text.replace(/\{(\w+)\}/g, (_, name) => {
    if (!(name in values)) throw new Error(`no value for {${name}} in: ${text}`);
    return values[name];
  });

// A name of any script in a sentence, which keeps the direction of the rest.
export const isolated = (name) => `\u2068${name}\u2069`;

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(languageTag(), { maximumFractionDigits: digits }).format(value);

// A share of 0..1 as a percentage; what is not quite 0 or 1 does not look like it.
export function percent(share, digits = share > 0.1 && share < 0.99 ? 0 : 1) {
  const form = new Intl.NumberFormat(languageTag(), {
    style: "percent",
    maximumFractionDigits: digits,
  });
  if (share > 0 && share < 0.0005) return `< ${form.format(0.001)}`;
  if (share < 1 && share >= 0.9995) return `> ${form.format(0.999)}`;
  return form.format(share);
}

// Fill in the texts of the page itself: of elements with `data-words`, and labels.
export function fillIn(root) {
  document.documentElement.lang = languageTag();
  for (const found of root.querySelectorAll("[data-words]")) {
    found.textContent = say(found.dataset.words);
  }
  for (const found of root.querySelectorAll("[data-words-label]")) {
    found.setAttribute("aria-label", say(found.dataset.wordsLabel));
  }
}
